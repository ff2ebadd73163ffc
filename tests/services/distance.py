"""A way to a server that takes time, as if the server were far away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

Piece = tuple[float, bytes]  # when it arrives, and what; nothing at the end


@contextmanager
def distant(port: int, seconds: float) -> Iterator[int]:
    """A port of this machine that leads to another one, whose answers take so long to come."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        way = threading.Thread(target=_accept, args=[listening, port, seconds / 2], daemon=True)
        way.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            way.join()


def _accept(listening: socket.socket, port: int, delay: float) -> None:
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((near, far), (far, near)):
                pieces: SimpleQueue[Piece] = SimpleQueue()
                taking = threading.Thread(target=_take, args=[source, pieces, delay], daemon=True)
                giving = threading.Thread(target=_give, args=[target, pieces], daemon=True)
                taking.start()
                giving.start()


def _take(source: socket.socket, pieces: SimpleQueue[Piece], delay: float) -> None:
    data = b"first"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))


def _give(target: socket.socket, pieces: SimpleQueue[Piece]) -> None:
    with suppress(OSError):
        while True:
            arrival, data = pieces.get()
            time.sleep(max(0.0, arrival - time.monotonic()))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
