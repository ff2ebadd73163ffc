from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.ir.flow import End, Foreach, Linear
from metaflow_dagster.ir.job import (
    Collected,
    FanIn,
    ForeachOutput,
    Item,
    JobPlan,
    Lane,
    One,
    Placement,
    Source,
    StepOp,
    Wire,
)
from metaflow_dagster.planner import check_plan
from tests.unit.samples import flow_of, planned

PLAN = planned(
    flow_of(
        {
            "start": Foreach("body", "xs"),
            "body": Linear("tail"),
            "tail": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"join": "start"},
    )
)
NESTED = planned(
    flow_of(
        {
            "start": Foreach("outer", "xs"),
            "outer": Foreach("body", "ys"),
            "body": Linear("inner"),
            "inner": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"inner": "outer", "join": "start"},
    )
)


def changed(plan: JobPlan, change: Callable[[Placement], Placement]) -> JobPlan:
    return replace(plan, placements=tuple(map(change, plan.placements)))


def rewired(plan: JobPlan, op_name: str, wire: Wire) -> JobPlan:
    """The plan with another wire to the input of one op."""

    def of_op(op: StepOp) -> StepOp:
        return replace(op, inputs=(replace(op.inputs[0], wire=wire),)) if op.name == op_name else op

    def change(placement: Placement) -> Placement:
        match placement:
            case StepOp():
                return of_op(placement)
            case Lane():
                return replace(placement, ops=tuple(map(of_op, placement.ops)))
            case _:
                return placement

    return changed(plan, change)


def lane_changed(plan: JobPlan, change: Callable[[Lane], Lane]) -> JobPlan:
    return changed(plan, lambda one: change(one) if isinstance(one, Lane) else one)


def with_dynamic_outputs(lane: Lane) -> Lane:
    return replace(lane, ops=tuple(replace(op, output=ForeachOutput()) for op in lane.ops))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        pytest.param(
            replace(PLAN, placements=PLAN.placements[:-1]),
            "Step end has 0 ops instead of 1.",
            id="an op is missing",
        ),
        pytest.param(
            replace(PLAN, placements=(*PLAN.placements, PLAN.placements[-1])),
            "Step end has 2 ops instead of 1.",
            id="an op twice",
        ),
        pytest.param(
            replace(PLAN, flow=replace(PLAN.flow, steps=PLAN.flow.steps[:-1])),
            "Step end has 1 ops instead of 0.",
            id="an op of no step",
        ),
        pytest.param(
            replace(PLAN, placements=PLAN.placements[::-1]),
            "Input join of op_end cannot be wired",
            id="used before it is there",
        ),
        pytest.param(
            rewired(PLAN, "op_join", One(Source("op_tail"))),
            "Input tail of op_join cannot be wired",
            id="out of a lane without collecting",
        ),
        pytest.param(
            rewired(PLAN, "op_join", FanIn((Source("op_tail"),))),
            "Input tail of op_join cannot be wired",
            id="fan-in of what is mapped",
        ),
        pytest.param(
            rewired(PLAN, "op_end", Collected(Source("op_join"))),
            "Input join of op_end cannot be wired",
            id="collects what is not mapped",
        ),
        pytest.param(
            rewired(PLAN, "op_join", Collected(Source("op_body"))),
            "Input tail of op_join cannot be wired",
            id="collects what the lane does not give",
        ),
        pytest.param(
            rewired(PLAN, "op_body", One(Source("op_start"))),
            "Input start of op_body cannot be wired",
            id="a dynamic output used raw",
        ),
        pytest.param(
            rewired(PLAN, "op_tail", FanIn((Source("op_body"),))),
            "Input body of op_tail cannot be wired",
            id="fan-in inside a lane",
        ),
        pytest.param(
            rewired(PLAN, "op_end", Item(Source("op_start"))),
            "Input join of op_end cannot be wired",
            id="an item outside its lane",
        ),
        pytest.param(
            rewired(PLAN, "op_body", Item(Source("op_join"))),
            "Input start of op_body cannot be wired",
            id="an item of another lane",
        ),
        pytest.param(
            replace(PLAN, placements=PLAN.placements[1:]),
            "Step start has 0 ops",
            id="a lane whose source is missing",
        ),
        pytest.param(
            lane_changed(PLAN, lambda lane: replace(lane, source=Source("op_join"))),
            "has no dynamic output before it.",
            id="a lane of an output that is not dynamic",
        ),
        pytest.param(
            lane_changed(PLAN, lambda lane: replace(lane, results=(Source("op_join"),))),
            "gives what it does not have.",
            id="a lane that gives another's",
        ),
        pytest.param(
            lane_changed(PLAN, lambda lane: replace(lane, results=())),
            "Input tail of op_join cannot be wired",
            id="a lane that gives nothing",
        ),
        pytest.param(
            lane_changed(NESTED, with_dynamic_outputs),
            "gives what it does not have.",
            id="a dynamic output in a lane",
        ),
        pytest.param(
            rewired(PLAN, "op_end", One(Source("nowhere"))),
            "Input join of op_end cannot be wired",
            id="no such op",
        ),
        pytest.param(
            rewired(PLAN, "op_tail", Item(Source("op_start"))),
            "The edge from step body to step tail is not the same in flow and job.",
            id="an edge of another step",
        ),
        pytest.param(
            replace(
                PLAN,
                flow=flow_of(
                    {
                        "start": Foreach("body", "xs"),
                        "body": Linear("tail"),
                        "tail": Linear("join"),
                        "join": End(),
                        "end": End(),
                    }
                ),
            ),
            "The edge from step join to step end is not the same in flow and job.",
            id="an edge the flow does not have",
        ),
    ],
)
def test_refused(plan: JobPlan, message: str) -> None:
    with pytest.raises(InternalError, match=message) as raised:
        check_plan(plan)
    assert "please report it" in str(raised.value)


@pytest.mark.parametrize("plan", [PLAN, NESTED], ids=["foreach", "nested"])
def test_accepted(plan: JobPlan) -> None:
    check_plan(plan)
