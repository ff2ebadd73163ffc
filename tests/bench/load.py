"""Load: large runs, and many at once, through the daemon of a Dagster on PostgreSQL.

`make load` prints the figures of docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.automated import accepts
from tests.bench.flows import END_VARIABLE, BenchFlow, foreach, nested
from tests.bench.machine import facts
from tests.bench.report import Table
from tests.operated import WORKSPACE, Server, answers, free_port, stop, until
from tests.services.postgres import Postgres, postgres_server

WORKERS = 2  # tasks of a run at once, under Metaflow's scheduler too
SECONDS_BETWEEN_LOOKS = 1.0
MIB = 2**20


@dataclass(frozen=True)
class Load:
    """A flow, and how many runs of it there are at once."""

    flow: BenchFlow
    runs: int = 1

    @property
    def title(self) -> str:
        runs = f"{self.runs} runs of " if self.runs > 1 else ""
        return f"{runs}{self.flow.name}, {self.flow.tasks} tasks"


LOADS = (Load(foreach(1000)), Load(nested(30, 30)), Load(foreach(8), 20))


@dataclass(frozen=True)
class Figures:
    """What a load has taken: seconds, seconds natively, events in Dagster, MiB of the database."""

    load: Load
    seconds: float
    native: float
    events: int
    database: float

    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        tasks = self.load.flow.tasks * self.load.runs
        return (
            self.load.title,
            f"{self.seconds:.0f} s",
            f"{self.native:.0f} s",
            f"{self.seconds / tasks * 1000:.0f} ms",
            str(self.events),
            f"{self.database:.0f} MiB",
        )


@dataclass(frozen=True)
class Production:
    """A directory with compiled flows, and the parts of Dagster that run them."""

    directory: Path
    postgres: Postgres
    server: Server
    instance: Any

    def figures(self, load: Load) -> Figures:
        """Run a load, and see to it that all of it was done."""
        native = self.native(load)
        before = self._database()
        seconds, runs = self.runs(load)
        events = sum(len(self.instance.all_logs(run.run_id)) for run in runs)
        return Figures(load, seconds, native, events, (self._database() - before) / MIB)

    def runs(self, load: Load) -> tuple[float, list[Any]]:
        """Seconds of a load, and its runs, which were successful."""
        began = time.monotonic()
        runs = [self._ended(run_id) for run_id in self._launched(load)]
        seconds = time.monotonic() - began
        for run in runs:
            assert run.is_success, f"{run.run_id} is {run.status.value}"
            self._check(load.flow, run.tags["metaflow/run_id"])
        return seconds, runs

    def native(self, load: Load) -> float:
        """Seconds of the same runs by Metaflow's scheduler, at once."""
        options = ["--quiet", "run", f"--max-workers={WORKERS}", "--max-num-splits=2000"]
        began = time.monotonic()
        runs = [self._start(load.flow, *options) for _ in range(load.runs)]
        assert [one.wait() for one in runs] == [0] * load.runs
        return time.monotonic() - began

    def _start(self, flow: BenchFlow, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, f"{flow.name}.py", *arguments],
            cwd=self.directory,
            env=environment(self.directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _launched(self, load: Load) -> list[str]:
        """Put runs into the queue, and return their Metaflow ids."""
        files = [self.directory / f"run-{number}" for number in range(load.runs)]
        options = ["--quiet", "dagster", "trigger", f"--url={self.server.url}"]
        started = [self._start(load.flow, *options, f"--run-id-file={file}") for file in files]
        assert [one.wait() for one in started] == [0] * load.runs
        return [file.read_text() for file in files]

    def _ended(self, run_id: str) -> Any:
        from dagster import RunsFilter

        wanted = RunsFilter(tags={"metaflow/run_id": run_id})
        while True:
            for run in self.instance.get_runs(wanted):  # none before its first op has begun
                if run.is_finished:
                    return run
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _check(self, flow: BenchFlow, run_id: str) -> None:
        """All tasks of a run are there, as Metaflow's client sees it."""
        from metaflow import Run, metadata, namespace

        namespace(None)
        metadata(f"local@{self.directory}")
        run = Run(f"{flow.name}/{run_id}")
        tasks = sum(1 for step in run for _ in step)
        assert run.successful
        assert tasks == flow.tasks, f"{tasks} of {flow.tasks} tasks"

    def _database(self) -> int:
        """The size of the database in bytes."""
        import psycopg2  # type: ignore[import-untyped]

        with psycopg2.connect(self.postgres.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])


def environment(directory: Path) -> dict[str, str]:
    """The environment of all commands."""
    bin_directory = os.path.dirname(sys.executable)
    return {
        **os.environ,
        "PATH": os.pathsep.join([bin_directory, os.environ.get("PATH", os.defpath)]),
        "DAGSTER_HOME": str(directory / "home"),
        "METAFLOW_USER": "bench",
        END_VARIABLE: os.devnull,
    }


@contextmanager
def production(directory: Path, loads: Sequence[Load] = LOADS) -> Iterator[Production]:
    """Compile the flows, and start all parts."""
    from dagster import DagsterInstance

    for name in (".metaflow", "home"):
        (directory / name).mkdir()
    for load in loads:
        (directory / f"{load.flow.name}.py").write_text(load.flow.source)
    files = [f"{load.flow.name}.py" for load in loads]
    compiled = ["metaflow-dagster", "create", "--output-dir=.", f"--max-workers={WORKERS}", *files]
    subprocess.run(
        compiled, cwd=directory, env=environment(directory), check=True, stdout=subprocess.DEVNULL
    )
    with postgres_server() as postgres, ExitStack() as stack:
        (directory / "home" / "dagster.yaml").write_text(json.dumps(settings(postgres)))
        instance = stack.enter_context(DagsterInstance.from_config(str(directory / "home")))
        server = stack.enter_context(_served(directory))
        yield Production(directory, postgres, server, instance)


def settings(postgres: Postgres) -> Mapping[str, object]:
    """The configuration of Dagster."""
    most = max(load.runs for load in LOADS)
    return {
        **postgres.storage,
        "telemetry": {"enabled": False},
        "concurrency": {"runs": {"max_concurrent_runs": most}},
        "run_queue": {"dequeue_interval_seconds": 1},
    }


@contextmanager
def _served(directory: Path) -> Iterator[Server]:
    """Start a code server, the daemon and a webserver, one after the other."""
    code_port, port = free_port(), free_port()
    (directory / "workspace.yaml").write_text(WORKSPACE.format(port=code_port))
    server = Server(f"http://127.0.0.1:{port}")
    code_server = f"dagster code-server start -f definitions.py -h 127.0.0.1 -p {code_port}"
    webserver = f"dagster-webserver -w workspace.yaml -h 127.0.0.1 -p {port}"
    with _running(code_server, directory):
        until(lambda: accepts(code_port))
        with (
            _running("dagster-daemon run -w workspace.yaml", directory),
            _running(webserver, directory),
        ):
            until(lambda: answers(server))
            yield server


@contextmanager
def _running(command: str, directory: Path) -> Iterator[None]:
    """A process that serves, whose output goes to a file in the directory."""
    with (directory / "dagster.log").open("ab") as log:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        stop(process)


def main() -> None:
    """Take all figures, in a temporary directory, and print them."""
    with (
        tempfile.TemporaryDirectory(prefix="metaflow-dagster-load-") as directory,
        production(Path(directory)) as dagster,
    ):
        rows = tuple(dagster.figures(load).row() for load in LOADS)
    header = ("load", "through the daemon", "Metaflow itself", "a task", "events", "database")
    print(Table("Load", header, rows).markdown())
    print(", ".join(f"{name}: {value}" for name, value in facts().items()))


if __name__ == "__main__":
    main()
