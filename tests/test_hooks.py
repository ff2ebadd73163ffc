"""Decorators that take part in how a step is started do so as under Metaflow's own runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.project import new_project
from tests.support import differences, log_differences

pytestmark = pytest.mark.slow

EXTENSION = Path(__file__).parent / "extension"

FLOW = """
import os
from metaflow import Config, FlowSpec, Parameter, catch, current, parallel, retry, sandbox, step

class HookedFlow(FlowSpec):
    config = Config("config", default_value={"depth": 3})
    number = Parameter("number", default=7)

    @sandbox(size=2)
    @step
    def start(self):
        self.mark = os.environ.get("SANDBOX"), "SANDBOX_PACKAGE" in os.environ
        self.depth = self.config.depth
        self.items = [1, 2]
        print("in start")
        self.next(self.fit, foreach="items")

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @sandbox
    @step
    def fit(self):
        self.mark = os.environ.get("SANDBOX")
        print("attempt", current.retry_count, "of", self.input)
        if self.input == 1:
            os.kill(os.getpid(), 9)
        if current.retry_count == 0:
            raise ValueError("not yet")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.marks = [one.mark for one in inputs if not one.failure]
        self.failed = [bool(one.failure) for one in inputs]
        self.here = os.environ.get("SANDBOX")
        self.next(self.spread)

    @step
    def spread(self):
        self.next(self.train, num_parallel=2)

    @sandbox
    @parallel
    @step
    def train(self):
        self.node = current.parallel.node_index, os.environ.get("SANDBOX")
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.nodes = sorted(one.node for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    HookedFlow()
"""

# Artifacts that hold task ids, or have no equality.
PARALLEL = {"_parallel_ubf_iter", "_control_mapper_tasks"}

HOOKED_STEPS = 3

Call = list[Any]  # of a hook: its name, the decorator's size, details


def calls(file: Path) -> list[Call]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def of_tasks(recorded: list[Call]) -> list[Call]:
    """The calls that concern one attempt of a task; their order depends on what runs when."""
    return sorted(
        (call for call in recorded if call[0] in ("runtime_task_created", "runtime_step_cli")),
        key=str,
    )


def test_hooks_are_called_as_natively(tmp_path: Path) -> None:
    record = tmp_path / "record"
    environment = {"PYTHONPATH": str(EXTENSION), "SANDBOX_RECORD": str(record)}
    project = new_project(tmp_path, "HookedFlow", FLOW, **environment)
    (hooked,) = re.findall(r"hooked_steps=(\[.*\])", project.definitions.read_text())
    assert "fit" in json.loads(hooked)
    assert "join" not in json.loads(hooked)
    record.unlink(missing_ok=True)
    native = project.snapshot(project.run_natively("--max-workers=1"), PARALLEL)
    natively = calls(record)
    record.unlink()
    run = project.run()
    assert run.succeeded, run.failures
    in_dagster = calls(record)

    dagster = project.snapshot(run.metaflow_run_id, PARALLEL)
    assert differences(native, dagster) == []
    assert log_differences(native, dagster) == []
    assert dagster.tasks["start"][()].artifacts["mark"] == ("yes", True)
    assert dagster.tasks["join"][()].artifacts["marks"] == ["yes"]
    assert dagster.tasks["join"][()].artifacts["failed"] == [True, False]
    assert dagster.tasks["join"][()].artifacts["here"] is None

    # Natively a task is created once, here once an attempt, each of which has a process.
    created = [task for task in of_tasks(in_dagster) if task[0] == "runtime_task_created"]
    assert [task for task in of_tasks(natively) if task not in of_tasks(in_dagster)] == []
    assert [task for task in of_tasks(in_dagster) if task[0] == "runtime_step_cli"] == [
        task for task in of_tasks(natively) if task[0] == "runtime_step_cli"
    ]
    assert len(created) == 1 + 3 + 2 + 1
    first = in_dagster[: len(in_dagster) // len(created)]
    assert [each[0] for each in first if each[0] != "package_init"] == [
        *["runtime_init"] * HOOKED_STEPS,
        "runtime_task_created",
        "runtime_step_cli",
        *["runtime_finished"] * HOOKED_STEPS,
    ]
    assert [each for each in first if each[0] == "runtime_init"] == [
        each for each in natively if each[0] == "runtime_init"
    ]
    failures = [each[-1] for each in in_dagster if each[0] == "runtime_finished"]
    assert failures.count("TaskFailed") == 3 * HOOKED_STEPS
    assert failures.count("NoneType") == 4 * HOOKED_STEPS
