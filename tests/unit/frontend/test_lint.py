from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from metaflow.lint import LintWarn

from metaflow_dagster.frontend import library_session
from metaflow_dagster.frontend.lint import has_loop, run_checks
from metaflow_dagster.frontend.protocols import Graph
from tests.unit.flows import HEADER, flow_class

START = """
    @step
    def start(self):
        self.next(self.middle)
"""
END = """
    @step
    def end(self):
        pass
"""


def graph_of(directory: Path, following: str) -> Graph:
    """The graph of a flow in which that follows a step in the middle."""
    middle = f"    @step\n    def middle(self):\n        self.next({following})\n"
    flow = flow_class(directory, f"{HEADER}class MyFlow(FlowSpec):{START}{middle}{END}")
    with library_session(flow) as session:
        return session.state.graph


@pytest.mark.parametrize(
    ("following", "loops"),
    [
        pytest.param("self.end", False, id="none"),
        pytest.param("self.start", True, id="two steps"),
        pytest.param("self.middle", True, id="one step"),
        pytest.param(
            "{'a': self.middle, 'b': self.end}, condition='x'", False, id="recursive switch"
        ),
        pytest.param("{'a': self.start, 'b': self.end}, condition='x'", True, id="switch"),
        pytest.param("self.unknown", False, id="unknown step"),
    ],
)
def test_loops(following: str, loops: bool, tmp_path: Path) -> None:
    assert has_loop(graph_of(tmp_path, following)) is loops


def test_metaflow_refuses_a_loop(tmp_path: Path) -> None:
    with pytest.raises(LintWarn, match="There is a loop in your flow"):
        run_checks(graph_of(tmp_path, "self.middle"))


def test_the_other_checks_are_metaflows(tmp_path: Path) -> None:
    with pytest.raises(LintWarn, match="unknown"):
        run_checks(graph_of(tmp_path, "self.unknown"))


def test_paths_are_not_followed_where_there_is_no_loop(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "self.end")
    called: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        called[frame.f_code.co_name] += event == "call"

    sys.setprofile(profile)
    try:
        run_checks(graph)
    finally:
        sys.setprofile(None)
    assert called["check_for_orphans"] == 1
    assert called["check_for_acyclicity"] == 0
