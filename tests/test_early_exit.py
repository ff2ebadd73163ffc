"""Steps that call `sys.exit(0)` when Metaflow knows already how the run goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.project import Project, new_project
from tests.support import checked, differences, use_client

pytestmark = pytest.mark.slow

# Every step ends its process after `self.next`, in each form that has; the last as it likes.
SHAPES = """
import sys
from metaflow import FlowSpec, current, parallel, step

class ShapesFlow(FlowSpec):
    def next(self, *steps, **how):
        super().next(*steps, **how)
        sys.exit(0)

    @step
    def start(self):
        self.items = [1, 2]
        self.next(self.fit, foreach="items")

    @step
    def fit(self):
        self.twice = self.input * 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(one.twice for one in inputs)
        self.next(self.fork)

    @step
    def fork(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.next(self.both)

    @step
    def right(self):
        self.next(self.both)

    @step
    def both(self, inputs):
        self.total = inputs.left.total
        self.next(self.spread)

    @step
    def spread(self):
        self.next(self.work, num_parallel=2)

    @parallel
    @step
    def work(self):
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.total = inputs[0].total
        self.next(self.pick)

    @step
    def pick(self):
        self.chosen = "b"
        self.next({"a": self.first, "b": self.second}, condition="chosen")

    @step
    def first(self):
        self.next(self.end)

    @step
    def second(self):
        self.next(self.end)

    @step
    def end(self):
        self.total += 1
        sys.exit(0)

if __name__ == "__main__":
    ShapesFlow()
"""

# Fails after the step that ends its process, as long as there is no file `go`.
RESUMED = """
import os, sys
from metaflow import FlowSpec, current, step

class ResumedFlow(FlowSpec):
    def next(self, *steps, **how):
        super().next(*steps, **how)
        if current.step_name == "middle":
            sys.exit(0)

    @step
    def start(self):
        {counter}
        self.next(self.middle)

    @step
    def middle(self):
        {counter}
        self.next(self.end)

    @step
    def end(self):
        {counter}
        if not os.path.exists("go"):
            raise ValueError("no luck")

if __name__ == "__main__":
    ResumedFlow()
"""


@pytest.fixture
def shapes(tmp_path: Path) -> Project:
    return new_project(tmp_path, "ShapesFlow", SHAPES)


def test_the_run_goes_on_as_natively(shapes: Project) -> None:
    from metaflow import Run

    run = shapes.run()
    assert run.succeeded, run.failures
    native = shapes.run_natively()
    # Objects without an equality, and paths that name the run.
    left_out = ["_parallel_ubf_iter", "_control_mapper_tasks"]
    ours = shapes.snapshot(run.metaflow_run_id, left_out)
    assert differences(shapes.snapshot(native, left_out), ours) == []
    use_client(shapes.directory)
    for run_id in (native, run.metaflow_run_id):
        # Of a last step that has not returned, Metaflow does not say that it succeeded.
        assert Run(f"ShapesFlow/{run_id}").successful is False
    warned = {key for key in run.statuses if key in warnings(shapes, run.dagster_run_id)}
    assert warned == {key for key in run.statuses if key.startswith("op_") and key != "op_first"}


def warnings(project: Project, run_id: str) -> set[str]:
    """The ops whose logs say that their step has ended the process."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(project.home)) as instance:
        entries = instance.all_logs(run_id)
    return {
        str(entry.step_key) for entry in entries if "ended its process by sys.exit" in entry.message
    }


def test_the_step_runs_again_in_a_resumed_run(tmp_path: Path) -> None:
    project = new_project(tmp_path, "ResumedFlow", RESUMED)
    origin = project.run()
    assert origin.statuses == {"op_start": "SUCCESS", "op_middle": "SUCCESS", "op_end": "FAILURE"}
    (project.directory / "go").touch()
    (project.directory / "counted").unlink()
    resumed = project.run(tags={"metaflow/origin_run_id": origin.metaflow_run_id})
    assert resumed.succeeded
    assert project.counted() == ["middle/middle", "end/end"]
    options = ["--origin-run-id", origin.metaflow_run_id]
    command = [sys.executable, "flow.py", "--quiet", "resume", *options]
    checked(command, project.directory, **project.variables)
    natively = [line.split("/")[0] for line in project.counted()[2:]]
    assert natively == ["middle", "end"]
