"""Processes are killed while a step runs: nothing goes on, nothing looks finished that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil
import pytest

from tests.project import Project, new_project
from tests.support import DagsterRun, use_client
from tests.test_threads import captured, output
from tests.unit.runtime.test_guard import comes_true, is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

# The step waits with a child and a daemon, as long as there is no file `go`. All steps tell whether
# they were forked from a Python without a file, which a step server is.
FLOW = """
import os, subprocess, sys, time
from metaflow import FlowSpec, step

def is_forked():
    with open("/proc/self/cmdline") as file:
        return file.read().split("\\0")[1] == "-c"

class WaitingFlow(FlowSpec):
    @step
    def start(self):
        self.forked = is_forked()
        self.next(self.wait)

    @step
    def wait(self):
        self.forked = is_forked()
        print("waiting", flush=True)
        if not os.path.exists("go"):
            sleep = [sys.executable, "-c", "import time; time.sleep(200)"]
            children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
            pids = [os.getppid(), os.getpid(), *(child.pid for child in children)]
            with open("pids.new", "w") as file:
                file.write(" ".join(map(str, pids)))
            os.rename("pids.new", "pids")
            for _ in range(2000):
                if os.path.exists("go"):
                    break
                time.sleep(0.1)
            for child in children:
                child.kill()
        self.next(self.end)

    @step
    def end(self):
        self.forked = is_forked()

if __name__ == "__main__":
    WaitingFlow()
"""


WAYS = {
    "warm": "--executor=threads",
    "fresh": "--no-warm-steps",
    "multiprocess": "--executor=multiprocess",
}


@pytest.fixture(scope="module", params=WAYS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("waiting")
    return new_project(directory, "WaitingFlow", FLOW, WAYS[request.param])


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
    """The process that has started the step, which is mostly the op's, and those of the step."""
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
    """By `SIGINT` or `SIGTERM`: the step is ended within ten seconds with all it has started, its
    output up to then is kept, and the run has failed."""
    from metaflow import Task

    _, step = waiting(project)
    running.send_signal(number)
    assert comes_true(lambda: not any(map(is_alive, step)), 10)
    assert running.wait(60) != 0
    run = project.dagster_run()
    use_client(project.directory)
    task = Task(f"WaitingFlow/{run.metaflow_run_id}/wait/wait", attempt=0)
    assert task.stdout == "waiting\n"
    assert "waiting\n" in shown_by_dagster(project, run)["op_wait"]
    assert_unfinished(project)


def shown_by_dagster(project: Project, run: DagsterRun) -> Mapping[str, str]:
    """What Dagster has captured of the output of each op."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(project.home)) as instance:
        return {key: output(instance, log_key) for key, log_key in captured(instance, run)}


# In threads, the process of the op is that of the run.
@pytest.mark.parametrize("project", ["multiprocess"], indirect=True)
def test_process_of_the_op_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    """The step is ended within ten seconds with all it has started, and the run has failed."""
    op, step = waiting(project)
    os.kill(op, signal.SIGKILL)
    assert comes_true(lambda: not any(map(is_alive, step)), 10)
    assert running.wait(60) != 0
    assert_unfinished(project)


def test_process_of_the_step_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    """The attempt has failed, and is retried as often as `@retry` says; then the run has failed."""
    _, step = waiting(project)
    os.kill(step[0], signal.SIGKILL)
    assert running.wait(60) != 0
    assert_unfinished(project)


def test_process_of_the_run_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    """All that the run has started is ended within ten seconds. Of a run that is a process of its
    own, as of `dagster job execute`, nobody is left to record that: terminated in the UI, which
    marks it as canceled, it can be re-executed from its failure."""
    # The server, what waits for its tasks, the guard and whatever else a run may have.
    of_the_run = [child.pid for child in psutil.Process(running.pid).children(recursive=True)]
    op, step = waiting(project)
    assert {*step} <= {*of_the_run}
    running.kill()
    assert comes_true(lambda: not any(map(is_alive, [op, *step, *of_the_run])), 10)
    mark_as_canceled(project)
    assert_unfinished(project)


def mark_as_canceled(project: Project) -> None:
    """Do as Dagster's UI does with a run that nobody executes any more."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(project.home)) as instance:
        (record,) = instance.get_run_records(limit=1)
        assert not record.dagster_run.is_finished
        instance.report_run_canceled(record.dagster_run)


@pytest.mark.parametrize("project", ["warm"], indirect=True)
def test_step_server_is_killed(project: Project, running: subprocess.Popen[str]) -> None:
    """Tasks that run go on, and later ones are started without it."""
    from metaflow import Run

    waits_for_step, step = waiting(project)
    server = psutil.Process(waits_for_step).parent()
    assert server is not None
    assert server.ppid() == running.pid
    server.kill()
    assert comes_true(lambda: not is_alive(server.pid), 10)
    assert is_alive(step[0])
    (project.directory / "go").touch()
    assert running.wait(60) == 0
    run = project.dagster_run()
    assert run.succeeded, run.failures
    use_client(project.directory)
    found = Run(f"WaitingFlow/{run.metaflow_run_id}")
    assert found.successful
    forked = {each.id: each.task["forked"].data for each in found}
    assert forked == {"start": True, "wait": True, "end": False}
