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
        self.numbers = [1, 2, 3]
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
    assert len(spans) == 3
    return max(sum(begin <= one < end for begin, end in spans) for one, _ in spans)


def test_slots(tmp_path: Path) -> None:
    limits = ["--max-workers=3", "--pool=elsewhere", "--pool=work=scarce"]
    project = new_project(tmp_path, "PooledFlow", FLOW, *limits)
    with DagsterInstance.from_config(str(project.home)) as instance:
        instance.event_log_storage.set_concurrency_slots("scarce", 2)
    run = project.run()
    assert run.succeeded, run.failures
    assert most_at_once(tmp_path / "times") == 2


def test_what_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "times"
    file.write_text("1 4\n2 5\n3 6\n")
    assert most_at_once(file) == 3
    file.write_text("1 2\n2 3\n3 4\n")
    assert most_at_once(file) == 1
