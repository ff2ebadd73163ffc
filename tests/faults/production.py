"""A flow on a Dagster as in production: PostgreSQL, a daemon, a code server and a webserver.

Each part is a process of its own, which can be killed and started again by itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.automated import accepts
from tests.docs.pages import block_of, blocks_of
from tests.faults.waiting import is_running
from tests.operated import SECONDS, WORKSPACE, Server, answers, free_port, stop, until
from tests.project import Project, new_project
from tests.services.postgres import Postgres, postgres_server
from tests.support import differences, path_with_this_python

# The second item fails at first. The third waits, if there is something to wait for, and says so.
FLOW = """
import os, time
from metaflow import FlowSpec, Parameter, current, retry, step

class ProductionFlow(FlowSpec):
    go = Parameter("go", default="")

    @step
    def start(self):
        self.items = ["a", "b", "c"]
        self.next(self.work, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        if self.input == "b" and current.retry_count == 0:
            raise ValueError("not at first")
        if self.input == "c" and self.go:
            with open(self.go + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(self.go + ".new", self.go + ".pid")
            for _ in range(1200):
                if os.path.exists(self.go):
                    break
                time.sleep(0.1)
        self.made = self.input * 1000
        self.next(self.join)

    @step
    def join(self, inputs):
        self.made = sorted(one.made for one in inputs)
        self.merge_artifacts(inputs, exclude=["made"])
        self.next(self.choose)

    @step
    def choose(self):
        self.size = "large" if len(self.made) > 2 else "small"
        self.next({"large": self.divide, "small": self.end}, condition="size")

    @step
    def divide(self):
        self.halves = [one[:500] for one in self.made]
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    ProductionFlow()
"""

SETTINGS = block_of("docs/reliability.md", "In production", "yaml").text
PARTS, RESUME = (each.text for each in blocks_of("docs/reliability.md", "In production", "sh"))

# What a run waits for is not the same in any two runs.
LEFT_OUT = ("go",)


def settings() -> dict[str, Any]:
    """What docs/reliability.md recommends, in a hurry."""
    found: dict[str, Any] = yaml.safe_load(SETTINGS)
    hurry = {"poll_interval_seconds": 1, "start_timeout_seconds": 60, "cancel_timeout_seconds": 3}
    found["run_monitoring"].update(hurry)
    return {
        **found,
        "telemetry": {"enabled": False},
        "run_queue": {"dequeue_interval_seconds": 1},
    }


@dataclass
class Part:
    """One of Dagster's processes, with those that it has started and that are in its session."""

    directory: Path
    command: str
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it says goes to a file in the directory."""
        assert self.process is None
        with open(self.directory / "dagster.log", "ab") as log:
            self.process = subprocess.Popen(
                shlex.split(self.command),
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it in order, if it is there."""
        if self.process is not None:
            stop(self.process)
        self.process = None

    def kill(self) -> None:
        """Let it end at once: it and its children, but not those of its children.

        The children of a code server are servers too, and theirs are the processes of runs.
        """
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        for child in (self.process, *children):
            child.kill()
        self.process.wait()
        psutil.wait_procs(children, 10)
        self.process = None

    def kill_all(self) -> None:
        """Let it end at once with all that it has started, as with its container."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


@dataclass
class Waiting:
    """A run whose third item waits: its Metaflow id, what it waits for, and all its processes."""

    id: str
    go: Path
    worker: int
    processes: list[psutil.Process] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The process of the step that waits."""
        return int(self.go.with_suffix(".pid").read_text())

    def let_go(self) -> None:
        """Let the step end."""
        self.go.touch()

    def is_gone(self) -> bool:
        """Whether nothing is left of all that it consisted of when it began to wait."""
        return not any(is_running(process) for process in self.processes)


@dataclass
class Production:
    """The flow, the parts of Dagster, and a run of the flow by Metaflow's own scheduler."""

    project: Project
    postgres: Postgres
    server: Server
    instance: Any
    native: str
    code_port: int
    code_server: Part
    daemon: Part
    webserver: Part

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.code_server, self.daemon, self.webserver

    def start_code_server(self) -> None:
        """Start what has loaded the definitions, and wait until it can be asked."""
        self.code_server.start()
        until(lambda: accepts(self.code_port))

    def start(self) -> None:
        """Start all parts."""
        self.start_code_server()
        self.daemon.start()
        self.webserver.start()
        until(lambda: answers(self.server))

    def stop(self) -> None:
        """End all parts that are there, and what is left of runs."""
        for part in reversed(self.parts):
            part.stop()

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the flow's `dagster` group on the webserver."""
        options = [f"--url={self.server.url}", *arguments]
        return subprocess.run(
            [sys.executable, "flow.py", "--quiet", "dagster", name, *options],
            cwd=self.project.directory,
            env=environment(self.project),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def trigger(self, *arguments: str) -> str:
        """Start a run, and return its Metaflow id."""
        return self.started("trigger", *arguments)

    def resume(self, run_id: str) -> str:
        """Resume a run as the document says, and return the Metaflow id of the new one."""
        *_, name, option, _ = shlex.split(RESUME)
        return self.started(name, option, run_id)

    def started(self, name: str, *arguments: str) -> str:
        """Start a run by a command that has to succeed, and return its Metaflow id."""
        file = self.project.directory / "run-id"
        file.unlink(missing_ok=True)
        result = self.command(name, f"--run-id-file={file}", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return file.read_text()

    def waiting(self) -> Waiting:
        """Start a run, and let it come to where it waits."""
        go = self.project.directory / os.urandom(8).hex()
        run_id = self.trigger(f"--go={go}")
        return self.now_waiting(run_id, go)

    def now_waiting(self, run_id: str, go: Path) -> Waiting:
        """A run that has been started, as soon as it waits."""
        until(go.with_suffix(".pid").exists)
        dagster_run_id = self.dagster_runs(run_id)[-1].run_id
        until(lambda: self._others_are_done(dagster_run_id))
        worker = self.worker(dagster_run_id)
        found = Waiting(run_id, go, worker)
        process = psutil.Process(worker)
        found.processes = [process, *process.children(recursive=True)]
        assert found.step in [each.pid for each in found.processes]
        return found

    def _others_are_done(self, dagster_run_id: str) -> bool:
        """Whether nothing else is left that would write to the database."""
        others = ["op_work[0]", "op_work[1]"]
        stats = self.instance.get_run_step_stats(dagster_run_id, others)
        return [stat.status and stat.status.value for stat in stats] == ["SUCCESS"] * 2

    def dagster_runs(self, run_id: str) -> list[Any]:
        """The Dagster runs of a Metaflow run, the first one first."""
        from dagster import RunsFilter

        runs = self.instance.get_runs(RunsFilter(tags={"metaflow/run_id": run_id}))
        return list(reversed(runs))

    def worker(self, dagster_run_id: str) -> int:
        """The process of a run."""
        said = "\n".join(entry.message for entry in self.instance.all_logs(dagster_run_id))
        (pid,) = re.findall(r"Started process for run \(pid: (\d+)\)", said)
        return int(pid)

    def statuses(self, run_id: str, count: int = 1) -> list[str]:
        """What has become of the Dagster runs of a Metaflow run, of which there will be some."""

        def ended() -> list[str]:
            runs = self.dagster_runs(run_id)
            has_ended = len(runs) >= count and all(run.is_finished for run in runs)
            return [str(run.status.value) for run in runs] if has_ended else []

        return list(until(ended))

    def assert_whole(self, run_id: str) -> None:
        """The run has the tasks and artifacts that it has under Metaflow's own scheduler."""
        project = self.project
        native = project.snapshot(self.native, LEFT_OUT)
        assert differences(native, project.snapshot(run_id, LEFT_OUT)) == []


def environment(project: Project) -> dict[str, str]:
    """The environment of all of Dagster's processes and of the flow's commands."""
    return {**os.environ, **project.variables, "PATH": path_with_this_python()}


@contextmanager
def production(directory: Path) -> Iterator[Production]:
    """Compile the flow, start a database and all parts of Dagster."""
    from dagster import DagsterInstance

    with postgres_server() as postgres, pytest.MonkeyPatch.context() as own:
        own.setenv("DAGSTER_POSTGRES_URL", postgres.url)
        project = new_project(directory, "ProductionFlow", FLOW)
        (project.home / "dagster.yaml").write_text(json.dumps(settings()))
        # Makes the tables: processes that do it at once break each other.
        with DagsterInstance.from_config(str(project.home)) as instance:
            found = _parts(project, postgres, instance)
            try:
                found.start()
                yield found
            finally:
                found.stop()


def _parts(project: Project, postgres: Postgres, instance: Any) -> Production:
    """The parts of a Dagster that is not started yet, and a native run."""
    code_port, port = free_port(), free_port()
    (project.directory / "workspace.yaml").write_text(WORKSPACE.format(port=code_port))

    def part(command: str) -> Part:
        return Part(project.directory, command, environment(project))

    # A connection to the database that is older than a second is not used again.
    here = {
        "scoresflow_dagster.py": "definitions.py",
        "0.0.0.0": "127.0.0.1",
        "4000": str(code_port),
        "3000": str(port),
        "recycle 60": "recycle 1",
    }
    commands = re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], PARTS)
    code_server, daemon, webserver = map(part, commands.splitlines())
    return Production(
        project,
        postgres,
        Server(f"http://127.0.0.1:{port}"),
        instance,
        project.run_natively(),
        code_port,
        code_server,
        daemon,
        webserver,
    )
