"""A compiled flow whose runs are launched, and a `dagster dev` that launches some of them."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import path_with_this_python

SECONDS = 90  # the longest that anything here may take

FLOW = """
import os, pathlib, time
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, current, step

class OperatedFlow(FlowSpec):
    city = Parameter("city", required=True)
    count = Parameter("my-count", type=int, default=2)
    price = Parameter("price", default=1.5)
    is_open = Parameter("open", default=True)
    options = Parameter("options", type=JSONType, default="{}")
    notes = IncludeFile("notes")
    waiting = Parameter("wait", default="no")

    @step
    def start(self):
        self.numbers = list(range(self.count))
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        if self.city == "Slow":
            pathlib.Path(f"{current.run_id}.pid").write_text(str(os.getpid()))
            time.sleep(300)
        while self.city == "Patient" and not os.path.exists("go"):
            time.sleep(0.2)
        while self.waiting.startswith("/") and not os.path.exists(self.waiting):
            time.sleep(0.2)
        if self.city == "Broken" and pathlib.Path("broken").exists():
            raise ValueError("no luck")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.merge_artifacts(inputs)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    OperatedFlow()
"""

# What lets a daemon or webserver use a code server.
WORKSPACE = """
load_from:
  - grpc_server:
      host: 127.0.0.1
      port: {port}
      location_name: flows
"""


@dataclass(frozen=True)
class Place:
    """A directory with a compiled flow, a Metaflow datastore and a Dagster home."""

    directory: Path
    home: Path
    flow_file: str = "operated_flow.py"

    def dagster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the flow's `dagster` group."""
        return subprocess.run(
            [sys.executable, self.flow_file, "--quiet", "dagster", *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": path_with_this_python(), "DAGSTER_HOME": str(self.home)}

    def trigger(self, *arguments: str) -> str:
        """Start a run by a command that has to succeed, and return its Metaflow id."""
        return self.started("trigger", *arguments)

    def started(self, command: str, *arguments: str) -> str:
        file = self.directory / "run-id"
        file.unlink(missing_ok=True)
        result = self.dagster(command, f"--run-id-file={file}", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return file.read_text()

    def recorded(self, run_id: str) -> Any:
        """Dagster's record of a Metaflow run."""
        from dagster import DagsterInstance, RunsFilter

        with DagsterInstance.from_config(str(self.home)) as instance:
            (run,) = instance.get_runs(RunsFilter(tags={"metaflow/run_id": run_id}))
            return run

    def worker(self, run_id: str) -> int:
        """The process of a run."""
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.home)) as instance:
            entries = instance.all_logs(self.recorded(run_id).run_id)
        said = "\n".join(entry.message for entry in entries)
        (pid,) = re.findall(r"Started process for run \(pid: (\d+)\)", said)
        return int(pid)

    def end_all_runs(self) -> None:
        """Leave nothing running, whatever has failed."""
        from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

        running = RunsFilter(statuses=[DagsterRunStatus.STARTED])
        with DagsterInstance.from_config(str(self.home)) as instance:
            for run in instance.get_runs(running):
                instance.report_run_canceling(run)
        until(lambda: not list((self.home / "launched").glob("*.lock")))

    def ended(self, run_id: str) -> str:
        """What becomes of a run, in Dagster's words."""
        return str(until(lambda: self._ending(run_id)))

    def _ending(self, run_id: str) -> str | None:
        run = self.recorded(run_id)
        return str(run.status.value) if run.is_finished else None


def until(found: Callable[[], Any], pause: float = 0.3) -> Any:
    """What a function finds, as soon as it finds something; it is asked after each pause."""
    deadline = time.monotonic() + SECONDS
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        # A zombie has ended; in a container there may be nobody to collect it.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def step_process(place: Place, run_id: str) -> int:
    """The process of a step that sleeps."""
    file = place.directory / f"{run_id}.pid"
    return int(until(lambda: file.exists() and file.read_text()))


def place_of(directory: Path, flow_file: str, flow: str, settings: str = "") -> Place:
    """A place with a flow that is not compiled yet, and more settings in its `dagster.yaml`."""
    (directory / ".metaflow").mkdir()
    home = directory / "dagster home"
    home.mkdir()
    (home / "dagster.yaml").write_text(f"telemetry:\n  enabled: false\n{settings}")
    (directory / flow_file).write_text(flow)
    return Place(directory, home, flow_file)


def new_place(directory: Path) -> Place:
    """A place whose flow is not compiled yet."""
    place = place_of(directory, "operated_flow.py", FLOW)
    (directory / "notes.txt").write_text("some notes")
    return place


def make_databases(place: Place) -> None:
    """Make the databases of a new home, at which processes that are started at once get stuck."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(place.home)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.event_log_storage.get_maximum_record_id()


@dataclass(frozen=True)
class Server:
    """A running `dagster dev` with the home of a place."""

    url: str

    def ask(self, query: str, **variables: object) -> Any:
        """What its GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]


@contextmanager
def running_server(place: Place, *files: str) -> Iterator[Server]:
    """A server that has loaded some definitions files, with the home of the place."""
    options = " ".join(f"-f {file}" for file in files)
    with served(place, f"dagster dev {options}") as server:
        yield server


@contextmanager
def served(place: Place, command: str, **environment: str) -> Iterator[Server]:
    """What a command such as `dagster dev` serves, once it answers, at a port of its own."""
    port = free_port()
    with running(place, f"{command} --host 127.0.0.1 --port {port}", **environment):
        found = Server(f"http://127.0.0.1:{port}")
        until(lambda: answers(found))
        yield found


def free_port() -> int:
    """A port of this machine that nobody uses.

    It is below those that the system gives to who asks for any, as Dagster's servers do: until what
    it is for has started, it would be given away again.
    """
    for port in random.sample(range(10_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def running(place: Place, command: str, **environment: str) -> Iterator[None]:
    """A process that serves, in the directory and with the home of a place."""
    process = start(place, command, **environment)
    try:
        yield
    finally:
        stop(process)


def start(place: Place, command: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, whose output goes to the log of the place."""
    with open(place.directory / "server.log", "ab") as log:
        return subprocess.Popen(
            shlex.split(command),
            cwd=place.directory,
            env={**place.environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def answers(server: Server) -> bool:
    with suppress(OSError):
        return bool(server.ask("{version}"))
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server with the servers that it has started, some of which may outlive it."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
