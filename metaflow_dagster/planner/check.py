"""The planner's proof of its own work: no step lost, no input dangling, every edge a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import assert_never

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.ir import (
    BranchOutputs,
    DynamicOutput,
    JobPlan,
    Lane,
    SingleOutput,
    Source,
    StepOp,
    targets,
)


def check_plan(plan: JobPlan) -> None:
    """Raise `InternalError` unless the plan runs every step once and in the flow's order."""
    for fault in (*_lost_steps(plan), *_dangling_inputs(plan), *_wrong_edges(plan)):
        raise InternalError(fault)


def _lost_steps(plan: JobPlan) -> Iterator[str]:
    planned = Counter(op.step.name for op in plan.ops())
    for name in planned.keys() | {step.name for step in plan.flow.steps}:
        if planned[name] != 1:
            yield f"Step {name} has {planned[name]} ops instead of one."


def _dangling_inputs(plan: JobPlan) -> Iterator[str]:
    """Walk the job in its order, as Dagster will compose it."""
    visible: set[Source] = set()
    for placement in plan.placements:
        match placement:
            case StepOp():
                yield from _missing(placement, visible)
                visible.update(_sources(placement))
            case Lane(source, ops, results):
                inside = {source} & visible
                for op in ops:
                    yield from _missing(op, inside)
                    inside.update(_sources(op))
                yield from (f"Lane result {lost} has no op." for lost in set(results) - inside)
                visible.update(results)
            case _:
                assert_never(placement)


def _missing(op: StepOp, visible: set[Source]) -> Iterator[str]:
    for value in op.inputs:
        if value.wire.source not in visible:
            yield f"Input {value.name} of {op.name} comes from {value.wire.source}, not in reach."


def _sources(op: StepOp) -> Iterator[Source]:
    match op.output:
        case SingleOutput() | DynamicOutput():
            yield Source(op.name)
        case BranchOutputs(branches):
            yield from (Source(op.name, output) for _, output in branches)
        case _:
            assert_never(op.output)


def _wrong_edges(plan: JobPlan) -> Iterator[str]:
    step_of = {op.name: op.step.name for op in plan.ops()}
    planned = {
        (step_of[value.wire.source.op], op.step.name) for op in plan.ops() for value in op.inputs
    }
    wanted = {
        (step.name, target) for step in plan.flow.steps for target in targets(step.transition)
    }
    for parent, child in planned ^ wanted:
        yield f"The edge from step {parent} to step {child} is not the same in flow and job."
