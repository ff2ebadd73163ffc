"""A flow whose second step waits, run by `dagster job execute` without any service."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.operated import SECONDS, until
from tests.project import Project, new_project
from tests.support import use_client

FLOW = """
import os, time
from metaflow import FlowSpec, Parameter, current, retry, step

class WaitingFlow(FlowSpec):
    go = Parameter("go", default="go")

    @step
    def start(self):
        self.kept = list(range(1000))
        self.next(self.wait)

    @retry(times=1, minutes_between_retries=0)
    @step
    def wait(self):
        {counter}
        with open(self.go + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(self.go + ".new", self.go + ".pid")
        for _ in range(1200):
            if os.path.exists(self.go):
                break
            time.sleep(0.1)
        self.made = os.urandom({size})
        self.clock = time.time()
        self.next(self.measure)

    @step
    def measure(self):
        self.measured = len(self.made)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    WaitingFlow()
"""


def waiting_project(directory: Path, *options: str, size: int = 10, **environment: str) -> Project:
    """The compiled flow, whose second step makes so many bytes."""
    source = FLOW.replace("{size}", str(size))
    return new_project(directory, "WaitingFlow", source, *options, **environment)


@dataclass
class WaitingRun:
    """A run whose second step waits, with all its processes at that time."""

    project: Project
    go: Path
    process: subprocess.Popen[str]
    processes: list[psutil.Process]

    def let_go(self) -> None:
        """Let the step end."""
        self.go.touch()

    def ended(self) -> int:
        """The exit code of the run, of which nothing is left then."""
        code = self.process.wait(SECONDS)
        until(lambda: not any(map(is_running, self.processes)))
        return code


def is_running(process: psutil.Process) -> bool:
    """Whether a process goes on; one that nobody has waited for yet has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def waiting_run(project: Project, go: str = "go", **environment: str) -> Iterator[WaitingRun]:
    """Start a run, and let it come to where it waits."""
    file = project.directory / go
    config = project.directory / f"{go}.yaml"
    config.write_text(f"ops: {{op_start: {{config: {{go: {file}}}}}}}")
    process = project.start("-c", config.name, **environment)
    try:
        until(file.with_suffix(".pid").exists)
        own = psutil.Process(process.pid)
        yield WaitingRun(project, file, process, [own, *own.children(recursive=True)])
    finally:
        process.kill()
        process.wait()


def assert_whole(project: Project, run_id: str) -> None:
    """Metaflow takes the run and all its tasks for done, and has all they have made."""
    from metaflow import Run

    use_client(project.directory)
    run = Run(f"WaitingFlow/{run_id}")
    assert run.successful
    assert all(task.successful for step in run for task in step)
    assert run["start"].task.data.kept == list(range(1000))
    assert run["measure"].task.data.measured == len(run["wait"].task.data.made)


def assert_not_done(project: Project, run_id: str) -> None:
    """Metaflow takes neither the run nor its second task for done, and keeps what is done."""
    from metaflow import Run

    use_client(project.directory)
    run = Run(f"WaitingFlow/{run_id}")
    assert not run.successful
    assert run["start"].task.data.kept == list(range(1000))
    assert not any(task.successful for task in run["wait"])
