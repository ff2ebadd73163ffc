"""What is said where Metaflow's own checks of a graph break down."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from metaflow_dagster import CompileError, synthesize
from tests.unit.flows import HEADER, flow_class

STRAY_JOIN = """
    class MyFlow(FlowSpec):
        @step
        def start(self):
            self.next(self.a, self.b)
        @step
        def a(self):
            self.way = 1
            self.next({1: self.c, 2: self.d}, condition="way")
        @step
        def b(self):
            self.next(self.joined)
        @step
        def c(self):
            self.next(self.joined)
        @step
        def d(self):
            self.next(self.once)
        @step
        def once(self, inputs):
            self.next(self.twice)
        @step
        def twice(self, inputs):
            self.next(self.joined)
        @step
        def joined(self, inputs):
            self.next(self.end)
        @step
        def end(self):
            pass
"""

PARALLEL_END = """
    class MyFlow(FlowSpec):
        @step
        def start(self):
            self.next(self.end)
        @parallel
        @step
        def end(self):
            pass
"""


@pytest.mark.parametrize(
    ("source", "step"),
    [pytest.param(STRAY_JOIN, "joined", id="join"), pytest.param(PARALLEL_END, "end", id="end")],
)
def test_steps_are_named(source: str, step: str, tmp_path: Path) -> None:
    flow = flow_class(tmp_path, HEADER + dedent(source))
    with pytest.raises(CompileError) as raised:
        synthesize(flow, output=tmp_path / "out.py")
    assert step in {diagnostic.step for diagnostic in raised.value.diagnostics}
    assert all(diagnostic.location for diagnostic in raised.value.diagnostics)
