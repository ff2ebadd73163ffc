"""Pools: no more ops at once than the slots that the instance has for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import DagsterInstance

from tests.project import new_project

pytestmark = pytest.mark.slow

FLOW = """
import time
from metaflow import FlowSpec, step

class PooledFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = [1, 2, 3, 4]
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        begin = time.time()
        time.sleep(1.5)
        with open("times", "a") as file:
            file.write(f"{begin} {time.time()}\\n")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    PooledFlow()
"""


def most_at_once(file: Path) -> int:
    """How many of the spans in a file, a line each, have a time in common."""
    spans = [tuple(map(float, line.split())) for line in file.read_text().splitlines()]
    assert len(spans) == 4
    return max(sum(begin <= one < end for begin, end in spans) for one, _ in spans)


@pytest.mark.parametrize(
    ("slots", "options"),
    [
        pytest.param(2, [], id="threads"),
        pytest.param(1, ["--warm-steps"], id="warm"),
        pytest.param(None, ["--warm-steps"], id="without-limit"),
    ],
)
def test_slots(slots: int | None, options: list[str], tmp_path: Path) -> None:
    limits = ["--max-workers=4", "--pool=elsewhere", "--pool=work=scarce"]
    project = new_project(tmp_path, "PooledFlow", FLOW, *limits, *options)
    if slots is not None:
        with DagsterInstance.from_config(str(project.home)) as instance:
            instance.event_log_storage.set_concurrency_slots("scarce", slots)
    run = project.run()
    assert run.succeeded, run.failures
    found = most_at_once(tmp_path / "times")
    assert found > 2 if slots is None else found == slots
