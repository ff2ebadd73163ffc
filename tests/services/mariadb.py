"""MariaDB, with which Dagster's storages for MySQL work: a server with data of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.operated import free_port
from tests.services.installed import installed

SECONDS_TO_ANSWER = 60
DATABASE = "dagster"


@dataclass(frozen=True)
class MariaDB:
    """A server that runs, with one database, in which everybody may do everything."""

    port: int

    @property
    def storage(self) -> Mapping[str, object]:
        """What lets Dagster keep runs, events and schedules here, in `dagster.yaml`."""
        place = f"root@127.0.0.1:{self.port}/{DATABASE}"
        url = f"mysql+mysqlconnector://{place}?collation=utf8mb4_general_ci"
        return {"storage": {"mysql": {"mysql_url": url}}}


@contextmanager
def mariadb_server() -> Iterator[MariaDB]:
    """Run a server for a while."""
    program = installed("mariadbd", Path("/usr/sbin"))
    directory = Path(tempfile.mkdtemp(prefix="mariadb-"))
    server = MariaDB(free_port())
    options = [
        "--no-defaults",
        f"--datadir={directory}",
        f"--socket={directory / 'socket'}",
        "--bind-address=127.0.0.1",
        f"--port={server.port}",
        "--skip-grant-tables",
        "--innodb-flush-log-at-trx-commit=0",
        *(["--user=root"] if os.geteuid() == 0 else []),
    ]
    log = directory / "log"
    try:
        with log.open("wb") as file:
            command = [str(program), *options]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            deadline = time.monotonic() + SECONDS_TO_ANSWER
            while not _has_database(server):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield server
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(directory)


def _has_database(server: MariaDB) -> bool:
    """Whether the server answers, and has made the database."""
    from mysql import connector

    try:
        connection = connector.connect(
            host="127.0.0.1", port=server.port, user="root", collation="utf8mb4_general_ci"
        )
    except connector.Error:
        return False
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    return True
