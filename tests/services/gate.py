"""A gate before a server: while it is closed, who wants to reach the server is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.operated import free_port

MOST_AT_ONCE = 100


class Gate:
    """Passes on what comes to a port of its own to the server at a URL."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._behind = (address.hostname, address.port)
        self._port = free_port()
        self._listening: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Let everybody through."""
        listening = socket.create_server(("127.0.0.1", self._port), backlog=MOST_AT_ONCE)
        self._listening = listening
        threading.Thread(target=self._accept, args=[listening], daemon=True).start()

    def close(self) -> None:
        """Refuse everybody, and break the connections that there are."""
        if self._listening is not None:
            _end(self._listening)
        self._listening = None
        with self._lock:
            for connection in self._connections:
                _end(connection)
            self._connections.clear()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                outer, _ = listening.accept()
                inner = socket.create_connection(self._behind)
                with self._lock:
                    self._connections |= {outer, inner}
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            _end(each)
        with self._lock:
            self._connections -= {source, target}


def _end(connection: socket.socket) -> None:
    # To close it alone would not wake up the thread that waits for it.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def gate_before(url: str) -> Iterator[Gate]:
    """An open gate before the server at a URL."""
    gate = Gate(url)
    gate.open()
    try:
        yield gate
    finally:
        gate.close()
