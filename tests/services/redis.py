"""Redis: a server that keeps everything in memory."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.operated import free_port
from tests.services.installed import installed

SECONDS_TO_ANSWER = 30


@dataclass(frozen=True)
class Redis:
    """A server that runs, empty at first."""

    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def redis_server(directory: Path) -> Iterator[Redis]:
    """Run a server for a while; what it says goes to a file in the directory."""
    redis = Redis(free_port())
    log = directory / "redis.log"
    options = ["--bind", "127.0.0.1", "--port", str(redis.port), "--dir", directory, "--save", ""]
    with log.open("wb") as file:
        command = [installed("redis-server"), *options]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while not _answers(redis):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield redis
    finally:
        process.terminate()
        process.wait(10)


def _answers(redis: Redis) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", redis.port), 5) as asking:
        asking.sendall(b"PING\r\n")
        return asking.recv(16) == b"+PONG\r\n"
    return False
