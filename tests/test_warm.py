"""Steps that are forked from a step server, in a run that `dagster job execute` runs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.project import Project, new_project
from tests.support import (
    DagsterRun,
    RunSnapshot,
    differences,
    log_differences,
    started_afresh,
    use_client,
    witness,
)
from tests.test_hooks import EXTENSION, PARALLEL

# Artifacts that hold task ids, stacks of the whole process, or have no equality.
NOT_COMPARED = {*PARALLEL, "failure", "_catch_exception"}

pytestmark = pytest.mark.slow

FLOW = """
import multiprocessing, os, time
from metaflow import (
    FlowSpec, catch, current, environment, parallel, retry, sandbox, step, timeout
)

def square(number):
    return number**2, os.environ["MARK"], __name__ == "__main__"

def squares(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, range(4))

class WarmFlow(FlowSpec):
    @step
    def start(self):
        self.items = list(range(3))
        self.next(self.work, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        print(f"attempt {current.retry_count} of {self.input}")
        if self.input == 1 and current.retry_count == 0:
            raise ValueError("not yet")
        self.result = self.input, current.retry_count
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = [one.result for one in inputs]
        self.next(self.seeded)

    @environment(vars={"PYTHONHASHSEED": "0"})
    @step
    def seeded(self):
        self.number = hash("a text")
        self.next(self.boxed)

    @sandbox
    @step
    def boxed(self):
        self.mark = os.environ["SANDBOX"]
        self.next(self.late)

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @timeout(seconds=2)
    @step
    def late(self):
        print("attempt", current.retry_count, flush=True)
        time.sleep(100)
        self.next(self.compute)

    @environment(vars={"MARK": "one"})
    @step
    def compute(self):
        os.environ["MARK"] += " more"
        self.squares = squares("fork"), squares("spawn")
        self.reason = [one for one in str(self.failure).splitlines() if "Exception: " in one]
        self.next(self.spread)

    @step
    def spread(self):
        self.next(self.node, num_parallel=2)

    @parallel
    @step
    def node(self):
        self.place = current.parallel.node_index
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.nodes = sorted(one.place for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        self.marks = os.environ.get("MARK"), os.environ.get("PYTHONHASHSEED")

if __name__ == "__main__":
    WarmFlow()
"""


@dataclass(frozen=True)
class WarmRun:
    """What is left of a run, and the command lines of what was not forked in it."""

    project: Project
    run: DagsterRun
    afresh: list[list[str]]

    @property
    def snapshot(self) -> RunSnapshot:
        """What Metaflow says of it."""
        assert self.run.succeeded, self.run.failures
        return self.project.snapshot(self.run.metaflow_run_id, NOT_COMPARED)


def execute(
    directory: Path,
    flow_name: str,
    source: str,
    *options: str,
    path: str = "",
    variables: Mapping[str, str] | None = None,
) -> WarmRun:
    """Compile a flow and run it, both in a process of its own."""
    starts = directory / "starts"
    environment = {
        **witness(starts),
        **(variables or {}),
        "SANDBOX_RECORD": str(directory / "record"),
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment["PYTHONPATH"], path]))
    project = new_project(directory, flow_name, source, *options, **environment)
    starts.unlink()
    project.start().wait(180)
    return WarmRun(project, project.dagster_run(), started_afresh(starts, "flow.py"))


@pytest.fixture(scope="module")
def warm_run(tmp_path_factory: pytest.TempPathFactory) -> WarmRun:
    return execute(tmp_path_factory.mktemp("warm"), "WarmFlow", FLOW, path=str(EXTENSION))


@pytest.fixture(scope="module")
def native(warm_run: WarmRun) -> RunSnapshot:
    """What Metaflow's own scheduler leaves."""
    return warm_run.project.snapshot(warm_run.project.run_natively(), NOT_COMPARED)


def step_of(command: list[str]) -> str:
    """The step that a command runs."""
    return command[command.index("step") + 1]


def test_leaves_what_a_native_run_leaves(warm_run: WarmRun, native: RunSnapshot) -> None:
    assert differences(native, warm_run.snapshot) == []


def test_keeps_the_same_logs(warm_run: WarmRun, native: RunSnapshot) -> None:
    assert log_differences(without_stacks(native), without_stacks(warm_run.snapshot)) == []


def without_stacks(run: RunSnapshot) -> RunSnapshot:
    """The run without what `@timeout` shows: the time, and the whole stack of the process."""
    (late,) = run.tasks["late"].values()
    stdout = [
        re.sub(r"^\S+ \S+ (?=Step)", "", each) for each in late.stdout if "  File" not in each
    ]
    return replace(run, tasks={**run.tasks, "late": {(): replace(late, stdout=stdout)}})


def test_what_cannot_be_forked_is_started_afresh(warm_run: WarmRun) -> None:
    # Of the two nodes, the control task starts the other one itself.
    assert sorted(map(step_of, warm_run.afresh)) == ["boxed", "node", "seeded"]
    (node,) = [each for each in warm_run.afresh if step_of(each) == "node"]
    assert "ubf_task" in node


def test_environment_is_that_of_the_step(warm_run: WarmRun) -> None:
    assert warm_run.snapshot.tasks["boxed"][()].artifacts["mark"] == "yes"
    assert warm_run.snapshot.tasks["end"][()].artifacts["marks"] == (None, None)


def test_retries_and_timeouts(warm_run: WarmRun) -> None:
    work = warm_run.snapshot.tasks["work"]
    assert [work[index,].artifacts["result"] for index in range(3)] == [(0, 0), (1, 1), (2, 0)]
    (reason,) = warm_run.snapshot.tasks["compute"][()].artifacts["reason"]
    assert reason.endswith("Step late timed out after 0 hours, 0 minutes, 2 seconds")
    tried = Counter(command.split(" step ")[1].split()[0] for command in warm_run.run.commands[1:])
    assert (tried["work"], tried["late"]) == (4, 2)


def test_processes_of_the_user(warm_run: WarmRun) -> None:
    forked, spawned = warm_run.snapshot.tasks["compute"][()].artifacts["squares"]
    assert forked == [(number**2, "one more", True) for number in range(4)]
    assert spawned == [(number**2, "one more", False) for number in range(4)]


MANY = """
from metaflow import FlowSpec, step

class ManyFlow(FlowSpec):
    @step
    def start(self):
        self.items = list(range(60))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.result = self.input**2
        print("item", self.input)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = [one.result for one in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    ManyFlow()
"""


def test_many_at_once(tmp_path: Path) -> None:
    from metaflow import Run

    many = execute(tmp_path, "ManyFlow", MANY, "--max-workers=16")
    assert many.run.succeeded, many.run.failures
    assert many.afresh == []
    use_client(tmp_path)
    run = Run(f"ManyFlow/{many.run.metaflow_run_id}")
    assert run["join"].task["results"].data == [number**2 for number in range(60)]
    outputs = {task.id: task.stdout for task in run["work"]}
    assert outputs == {f"work-{index}": f"item {index}\n" for index in range(60)}
