"""PostgreSQL: a server with a data directory of its own, which can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.operated import free_port
from tests.services.installed import installed

SECONDS_TO_ANSWER = 30
USER = "dagster"


@dataclass
class Postgres:
    """A server with one database, in which everybody on this machine may do everything."""

    programs: Path
    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def storage(self) -> Mapping[str, object]:
        """What lets Dagster keep runs, events and schedules here, in `dagster.yaml`."""
        return {"storage": {"postgres": {"postgres_url": self.url}}}

    def create(self) -> None:
        """Make the files of the server."""
        options = [f"--username={USER}", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        command = [str(self.programs / "initdb"), f"--pgdata={self.directory / 'data'}", *options]
        with self._log() as log:
            subprocess.run(command, stdout=log, stderr=log, check=True, timeout=60, **_owner())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.directory), "-F"]
        command = [str(self.programs / "postgres"), "-D", str(self.directory / "data"), *options]
        with self._log() as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_owner()
            )
        self.process = process
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while not self._answers():
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as `pg_ctl stop -m fast` does: it breaks all connections."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(SECONDS_TO_ANSWER)
        self.process = None

    def said(self) -> str:
        """What it has written."""
        return (self.directory / "log").read_text()

    def _answers(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=10).returncode == 0

    def _log(self) -> IO[bytes]:
        return (self.directory / "log").open("ab")


def _owner() -> dict[str, Any]:
    """Who runs the server, which refuses to be run by root."""
    return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a server for a while, in a directory that its user can reach."""
    program = installed("postgres", *Path("/usr/lib/postgresql").glob("*/bin"))
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Postgres(program.resolve().parent, directory)
    try:
        if owner := _owner():
            shutil.chown(directory, **owner)
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)
