"""Decorators that act inside the step's process do there what they do natively."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import new_project
from tests.support import differences, log_differences

pytestmark = pytest.mark.slow

FLOW = """
import os
from metaflow import FlowSpec, current, environment, resources, secrets, step, user_step_decorator

@user_step_decorator
def doubled(step_name, flow, inputs=None, attr=None):
    yield
    flow.doubled = 2 * flow.number

class DecoratedFlow(FlowSpec):
    @secrets(sources=[{"type": "inline", "id": "x", "options": {"env_vars": {"PIN": "s3same"}}}])
    @environment(vars={"COLOUR": "blue ✓"})
    @step
    def start(self):
        self.pin = "".join(reversed(os.environ["PIN"]))
        self.colour = os.environ["COLOUR"]
        self.number = 21
        self.next(self.end)

    @doubled
    @resources(cpu=3, memory=100)
    @step
    def end(self):
        self.everywhere = os.environ["ALL"]
        self.pin_here = os.environ.get("PIN")
        print("ended", current.step_name)

if __name__ == "__main__":
    DecoratedFlow()
"""


SPEC = 'environment:vars={"ALL": "1"}'


def test_decorators(tmp_path: Path) -> None:
    project = new_project(tmp_path, "DecoratedFlow", FLOW, "--with", SPEC)
    native = project.snapshot(project.run_natively(f"--with={SPEC}"))
    run = project.run()
    assert run.succeeded, run.failures
    dagster = project.snapshot(run.metaflow_run_id)
    assert differences(native, dagster) == []
    assert log_differences(native, dagster) == []
    assert dagster.tasks["start"][()].artifacts["pin"] == "emas3s"
    assert dagster.tasks["end"][()].artifacts["doubled"] == 42
    assert dagster.tasks["end"][()].artifacts["pin_here"] is None
    assert "s3same" not in project.definitions.read_text()
    kept = [path for path in project.home.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if b"s3same" in path.read_bytes()] == []


def test_environment_of_uv(tmp_path: Path) -> None:
    project = new_project(tmp_path, "DecoratedFlow", FLOW)
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    options = [project.definitions.name, "--with", SPEC]
    project.metaflow("--environment=uv", "dagster", "create", *options)
    run = project.run()
    assert run.succeeded, run.failures
    assert all(" --environment=uv " in command for command in run.commands)
