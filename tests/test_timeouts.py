"""Steps and runs that take too long are ended, and handled as Metaflow handles it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.project import Project, new_project
from tests.support import use_client

pytestmark = pytest.mark.slow

FLOW = """
import signal, time
from metaflow import FlowSpec, catch, current, retry, step, timeout

class SlowFlow(FlowSpec):
    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @timeout(seconds=2)
    @step
    def start(self):
        print("attempt", current.retry_count, flush=True)
        {how}
        self.next(self.end)

    @step
    def end(self):
        {end}

if __name__ == "__main__":
    SlowFlow()
"""


def slow_project(directory: Path, how: str, end: str = "pass", *options: str) -> Project:
    source = FLOW.replace("{how}", how).replace("{end}", end)
    return new_project(directory, "SlowFlow", source, *options)


def test_alarm_in_the_step(tmp_path: Path) -> None:
    from metaflow import Task

    project = slow_project(tmp_path, "time.sleep(30)")
    assert '"dagster/op_execution_timeout": "2"' in project.definitions.read_text()
    run = project.run()
    assert run.succeeded, run.failures
    assert len([command for command in run.commands if " step start " in command]) == 2
    use_client(tmp_path)
    task = Task(f"SlowFlow/{run.metaflow_run_id}/start/start")
    assert "timed out after 0 hours, 0 minutes, 2 seconds" in str(task["failure"].data)
    assert task.stdout.startswith("attempt 1\n")


def test_step_that_is_deaf_to_its_alarm_is_stopped(tmp_path: Path) -> None:
    from metaflow import Task

    deaf = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); time.sleep(100)"
    project = slow_project(tmp_path, deaf)
    text = project.definitions.read_text()
    (grace,) = re.findall(r"SECONDS_OF_GRACE = ([\d.]+)", text)
    project.definitions.write_text(text.replace(f"GRACE = {grace}", "GRACE = 1.0"))
    started = time.monotonic()
    run = project.run()
    assert run.succeeded, run.failures
    assert time.monotonic() - started < 60
    assert len([command for command in run.commands if " step start " in command]) == 3
    use_client(tmp_path)
    task = Task(f"SlowFlow/{run.metaflow_run_id}/start/start")
    assert "FailureHandledByCatch" in repr(task["failure"].data)
    assert [Task(task.pathspec, attempt=number).stdout for number in (0, 1)] == [
        "attempt 0\n",
        "attempt 1\n",
    ]


def test_run_that_has_had_its_time_is_stopped(tmp_path: Path) -> None:
    project = slow_project(tmp_path, "pass", "time.sleep(100)", "--workflow-timeout=15")
    started = time.monotonic()
    run = project.run()
    assert not run.succeeded
    assert time.monotonic() - started < 60
    (failure,) = [each for each in run.failures if "Step end failed" in each]
    assert "the run has had the 15 seconds that it may take (dagster/max_runtime)" in failure
    assert run.statuses == {"op_start": "SUCCESS", "op_end": "FAILURE"}


def test_limit_can_be_given_to_a_single_run(tmp_path: Path) -> None:
    project = slow_project(tmp_path, "pass")
    run = project.run(tags={"dagster/max_runtime": "0.1"})
    assert not run.succeeded
    assert any("Nothing was started: the run has had" in failure for failure in run.failures)
