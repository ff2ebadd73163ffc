"""A compiled job runs the tasks that Metaflow would run, each after the same tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dagster import DagsterError
from hypothesis import given, note

from metaflow_dagster import compiler, synthesize
from metaflow_dagster.ir.job import FanIn, Input, JobPlan, Lane, SplitOutputs, StepOp, SwitchOutputs
from tests import trace
from tests.flowgen import (
    Branches,
    Case,
    Choice,
    FlowTree,
    Limits,
    Loop,
    Opening,
    Plain,
    Play,
    examples,
    flow_of,
    module_of,
    source,
    trees,
)
from tests.support import working_directory

pytestmark = pytest.mark.slow

_numbers = itertools.count()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("traces")
    with working_directory(path):
        yield path


def differences(directory: Path, tree: FlowTree, wrong: str = "", right: str = "") -> list[str]:
    """Compile a flow and play it; how the trace differs from Metaflow's.

    In the compiled text, what is wrong takes the place of what is right.
    """
    number = next(_numbers)
    output = directory / f"job_{number}.py"
    with module_of(source(tree), directory, f"flow_{number}") as module:
        text = synthesize(flow_of(tree, module), output=output)
    assert right in text
    with module_of(text.replace(right, wrong), directory, output.stem) as generated:
        return trace.differences(tree, trace.played(tree, generated))


@pytest.mark.parametrize("part", range(2))
@examples(40)
@given(tree=trees(Limits(steps=8), nasty=False))
def test_small_flows_run_the_same_tasks(directory: Path, part: int, tree: FlowTree) -> None:
    note(source(tree))
    assert differences(directory, tree) == []


@pytest.mark.parametrize("part", range(2))
@examples(15)
@given(tree=trees(Limits(steps=20), nasty=False))
def test_large_flows_run_the_same_tasks(directory: Path, part: int, tree: FlowTree) -> None:
    note(source(tree))
    assert differences(directory, tree) == []


Change = Callable[[JobPlan], JobPlan]


def _on_every_op(change: Callable[[StepOp], StepOp]) -> Change:
    def changed(plan: JobPlan) -> JobPlan:
        placements = []
        for placement in plan.placements:
            if isinstance(placement, StepOp):
                placement = change(placement)
            elif isinstance(placement, Lane):
                placement = replace(placement, ops=tuple(map(change, placement.ops)))
            placements.append(placement)
        return replace(plan, placements=tuple(placements))

    return changed


def _swapped_branches(op: StepOp) -> StepOp:
    """Each branch on the output of another."""
    if not isinstance(op.output, (SplitOutputs, SwitchOutputs)):
        return op
    targets = [target for target, _ in op.output.branches]
    names = [name for _, name in op.output.branches]
    branches = tuple(zip([*targets[1:], targets[0]], names, strict=True))
    return replace(op, output=replace(op.output, branches=branches))


def _half_a_fan_in(op: StepOp) -> StepOp:
    """Without the last of the sources of a list."""

    def shorter(given: Input) -> Input:
        if isinstance(given.wire, FanIn) and len(given.wire.sources) > 1:
            return replace(given, wire=FanIn(given.wire.sources[:-1]))
        return given

    return replace(op, inputs=tuple(map(shorter, op.inputs)))


def _no_index(op: StepOp) -> StepOp:
    """As if no step were an item of a foreach."""
    return replace(op, follows_foreach=False)


SWITCH_IN_LOOP = FlowTree(
    "Switched",
    (
        Loop(
            Opening(("start",)),
            (
                Choice("pick", (Case(("a",), (Plain("one"),)), Case(("b",), (Plain("two"),)))),
                Plain("merge"),
            ),
            "join",
        ),
        Choice("last", (Case(("a",), (Plain("left"),)), Case(("b",), (Plain("right"),)))),
        Plain("both"),
    ),
    "end",
)
PLAYS = (Play((0, 1)), Play((1, 2, 3)), Play((2, 0, 1, 4)))  # either case of each switch


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_on_every_op(_swapped_branches), id="swapped branches"),
        pytest.param(_on_every_op(_half_a_fan_in), id="half a fan-in"),
        pytest.param(_on_every_op(_no_index), id="no split index"),
    ],
)
def test_a_wrong_plan_is_noticed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    flows = [replace(SWITCH_IN_LOOP, play=play) for play in PLAYS]
    assert not any(differences(directory, tree) for tree in flows)
    plan_job = compiler.plan_job
    monkeypatch.setattr(compiler, "plan_job", lambda flow, name: change(plan_job(flow, name)))
    monkeypatch.setattr(compiler, "check_plan", lambda plan: None)
    assert any(differences(directory, tree) for tree in flows)


NESTED = FlowTree(
    "Nested",
    (
        Loop(
            Opening(("start",)),
            (
                Loop(Opening(("outer",)), (Plain("inner"),), "inner_join"),
                Branches(Opening(("split",)), ((Plain("a"),), (Plain("b"),)), "join"),
            ),
            "outer_join",
        ),
    ),
    "end",
    play=Play((2,)),
)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("index_path(path)[:depth]", "index_path(path)", id="groups of one"),
        pytest.param("sorted(paths, key=index_path)", "list(paths)[::-1]", id="no order"),
        pytest.param(".split('_')[-1]", ".split('_')[0]", id="index of the outer foreach"),
    ],
)
def test_a_wrong_helper_is_noticed(directory: Path, right: str, wrong: str) -> None:
    assert differences(directory, NESTED) == []
    try:
        found = differences(directory, NESTED, wrong, right)
    except DagsterError:
        return
    assert found != []
