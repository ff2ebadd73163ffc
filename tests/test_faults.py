"""Processes are killed while a step runs: nothing goes on, nothing looks finished that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.project import Project, new_project
from tests.support import use_client
from tests.unit.runtime.test_guard import comes_true, is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

# The step waits with a child and a daemon, as long as there is no file `go`.
FLOW = """
import os, subprocess, sys, time
from metaflow import FlowSpec, step

class WaitingFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.wait)

    @step
    def wait(self):
        print("waiting", flush=True)
        if not os.path.exists("go"):
            sleep = [sys.executable, "-c", "import time; time.sleep(200)"]
            children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
            pids = [os.getppid(), os.getpid(), *(child.pid for child in children)]
            with open("pids.new", "w") as file:
                file.write(" ".join(map(str, pids)))
            os.rename("pids.new", "pids")
            time.sleep(200)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    WaitingFlow()
"""


@pytest.fixture(scope="module", params=["threads", "multiprocess"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("waiting")
    return new_project(directory, "WaitingFlow", FLOW, f"--executor={request.param}")


@pytest.fixture
def running(project: Project) -> Iterator[subprocess.Popen[str]]:
    """`dagster job execute`, whose second step waits."""
    for name in ("go", "pids"):
        (project.directory / name).unlink(missing_ok=True)
    process = project.start()
    try:
        assert comes_true((project.directory / "pids").exists, 120)
        yield process
    finally:
        process.kill()
        process.wait()


def waiting(project: Project) -> tuple[int, list[int]]:
    """The process of the op, and those of its step."""
    op, *step = map(int, (project.directory / "pids").read_text().split())
    return op, step


def assert_unfinished(project: Project) -> None:
    """The run is not a success, in Dagster or in Metaflow, and can be carried on."""
    from metaflow import Run

    failed = project.dagster_run()
    assert not failed.succeeded
    use_client(project.directory)
    run = Run(f"WaitingFlow/{failed.metaflow_run_id}")
    assert not run.successful
    assert not run["wait"].task.successful
    (project.directory / "go").touch()
    again = project.run(after=failed.dagster_run_id)
    assert again.succeeded, again.failures
    assert again.metaflow_run_id == failed.metaflow_run_id
    assert Run(f"WaitingFlow/{failed.metaflow_run_id}").successful
    assert "op_start" not in again.statuses


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_run_is_interrupted(
    project: Project, running: subprocess.Popen[str], number: signal.Signals
) -> None:
    from metaflow import Task

    _, step = waiting(project)
    running.send_signal(number)
    assert comes_true(lambda: not any(map(is_alive, step)), 10)
    assert running.wait(60) != 0
    run = project.dagster_run()
    use_client(project.directory)
    task = Task(f"WaitingFlow/{run.metaflow_run_id}/wait/t1", attempt=0)
    assert task.stdout == "waiting\n"
    assert_unfinished(project)


# In threads, the process of the op is that of the run.
@pytest.mark.parametrize("project", ["multiprocess"], indirect=True)
def test_process_of_the_op_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    op, step = waiting(project)
    os.kill(op, signal.SIGKILL)
    assert comes_true(lambda: not any(map(is_alive, step)), 10)
    assert running.wait(60) != 0
    assert_unfinished(project)


def test_process_of_the_step_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    _, step = waiting(project)
    os.kill(step[0], signal.SIGKILL)
    assert running.wait(60) != 0
    assert_unfinished(project)


def test_process_of_the_run_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    op, step = waiting(project)
    running.kill()
    assert comes_true(lambda: not any(map(is_alive, [op, *step])), 10)
