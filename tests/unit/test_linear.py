"""That each step adds the same work to a compilation, however large the flow: none looks at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from metaflow_dagster.emit import emit_module
from metaflow_dagster.frontend import library_session
from metaflow_dagster.frontend.lint import has_loop
from metaflow_dagster.frontend.protocols import FlowObject, Graph
from metaflow_dagster.frontend.steps import read_steps
from metaflow_dagster.ir.flow import End, Flow, Foreach, Linear, Split, Switch, Transition
from tests.unit.flows import HEADER, flow_class
from tests.unit.samples import NO_OPTIONS, PLACE, flow_of, planned

pytestmark = pytest.mark.slow

MOST_GROWTH = 1.1  # of what so many further steps add, once there are as many more


class Name(str):
    """The name of a step, which counts when a dict, a set or a list compares it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def chain(size: int) -> Flow:
    """A step after the other."""
    names = [Name("start"), *(Name(f"s{index}") for index in range(size)), Name("end")]
    return flow_of(
        {one: Linear(next_one) for one, next_one in pairwise(names)} | {names[-1]: End()}
    )


def split(size: int) -> Flow:
    """A split of many branches."""
    branches = tuple(Name(f"s{index}") for index in range(size))
    transitions: dict[str, Transition] = {Name("start"): Split(branches)}
    transitions |= {branch: Linear(Name("join")) for branch in branches}
    return flow_of(
        {**transitions, Name("join"): Linear(Name("end")), Name("end"): End()}, {"join": "start"}
    )


def foreaches(size: int) -> Flow:
    """A foreach after the other, each with a switch in it."""
    transitions: dict[str, Transition] = {}
    joins: dict[str, str] = {}
    for index in range(size):
        over, chosen, one, two, join = (
            Name(f"{kind}{index}") for kind in ("f", "c", "a", "b", "j")
        )
        transitions[over] = Foreach(chosen, "xs")
        transitions[chosen] = Switch((one, two), "x")
        transitions |= {one: Linear(join), two: Linear(join)}
        transitions[join] = Linear(Name(f"f{index + 1}"))
        joins[join] = over
    return flow_of({**transitions, Name(f"f{size}"): End()}, joins)


def nest(size: int) -> Flow:
    """A split in a branch of the other."""
    transitions: dict[str, Transition] = {}
    for index in range(size):
        transitions[Name(f"s{index}")] = Split((Name(f"s{index + 1}"), Name(f"b{index}")))
    transitions[Name(f"s{size}")] = Linear(Name(f"j{size - 1}"))
    for index in reversed(range(size)):
        transitions[Name(f"b{index}")] = Linear(Name(f"j{index}"))
        transitions[Name(f"j{index}")] = Linear(Name(f"j{index - 1}" if index else "end"))
    return flow_of(
        {**transitions, Name("end"): End()}, {f"j{index}": f"s{index}" for index in range(size)}
    )


def instructions(work: Callable[[], object]) -> int:
    """How many of Python's instructions the work takes, which is the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """By how much more the third part of a flow adds to the work than the second."""
    first, second, third = (instructions(work(times * size)) for times in (1, 2, 3))
    return (third - second) / (second - first)


@pytest.mark.parametrize("shape", [chain, split, foreaches, nest])
def test_plan(shape: Callable[[int], Flow]) -> None:
    def work(size: int) -> Callable[[], object]:
        flow = shape(size)
        return lambda: planned(flow)

    assert growth(work, 40) < MOST_GROWTH


@pytest.mark.parametrize(("shape", "size"), [(chain, 10), (split, 10), (foreaches, 3), (nest, 5)])
def test_emit(shape: Callable[[int], Flow], size: int) -> None:
    def work(of_size: int) -> Callable[[], object]:
        plan = planned(shape(of_size))
        return lambda: emit_module(plan, NO_OPTIONS, PLACE)

    emit_module(planned(shape(1)), NO_OPTIONS, PLACE)  # so that what is made once is there
    assert growth(work, size) < MOST_GROWTH


def source(size: int) -> Iterator[str]:
    """A flow whose steps come one after the other."""
    yield f"{HEADER}class MyFlow(FlowSpec):\n"
    names = ["start", *(f"s{index}" for index in range(size)), "end"]
    for one, next_one in pairwise(names):
        yield f"    @step\n    def {one}(self):\n        self.next(self.{next_one})\n"
    yield "    @step\n    def end(self):\n        pass\n"


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda flow, graph: list(read_steps(flow, graph)), id="steps"),
        pytest.param(lambda _flow, graph: has_loop(graph), id="loops"),
    ],
)
def test_read(work: Callable[[FlowObject, Graph], object], tmp_path: Path) -> None:
    def of_size(size: int) -> Callable[[], object]:
        with library_session(flow_class(tmp_path, "".join(source(size)))) as session:
            return lambda: work(session.state.flow, session.state.graph)

    assert growth(of_size, 40) < MOST_GROWTH
