"""The planner's proof of its own work: no step lost, no input dangling, every edge a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from typing_extensions import assert_never

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.ir.flow import targets
from metaflow_dagster.ir.job import (
    Collected,
    FanIn,
    GlueOp,
    Input,
    Item,
    JobPlan,
    Lane,
    One,
    Source,
    StepOp,
    inputs,
    is_dynamic,
    outputs,
    sources,
)


def check_plan(plan: JobPlan) -> None:
    """Raise `InternalError` unless the plan runs every step once and in the flow's order."""
    for fault in chain(_lost_steps(plan), _illegal_wires(plan), _wrong_edges(plan)):
        raise InternalError(fault)


def _lost_steps(plan: JobPlan) -> Iterator[str]:
    planned = Counter(op.step.name for op in plan.step_ops())
    wanted = Counter(step.name for step in plan.flow.steps)
    for name in sorted(planned.keys() | wanted.keys()):
        if planned[name] != wanted[name]:
            yield f"Step {name} has {planned[name]} ops instead of {wanted[name]}."


@dataclass(slots=True)
class _Visible:
    """The outputs that a point of the job can use, by how they can be used."""

    values: set[Source] = field(default_factory=set)
    dynamic: set[Source] = field(default_factory=set)
    mapped: set[Source] = field(default_factory=set)
    item: Source | None = None

    def allows(self, op_input: Input) -> bool:
        match op_input.wire:
            case One(source):
                return source in self.values
            case FanIn(several):
                return self.item is None and self.values.issuperset(several)
            case Collected(source):
                return source in self.mapped
            case Item(source):
                return source == self.item
            case _:
                assert_never(op_input.wire)

    def add(self, op: StepOp | GlueOp) -> None:
        (self.dynamic if is_dynamic(op) else self.values).update(outputs(op))


def _illegal_wires(plan: JobPlan) -> Iterator[str]:
    """Walk the job in its order, as Dagster will compose it."""
    visible = _Visible()
    for placement in plan.placements:
        match placement:
            case StepOp() | GlueOp():
                yield from _refused(placement, visible)
                visible.add(placement)
            case Lane(source, ops, results):
                if source not in visible.dynamic:
                    yield f"The lane of {source} has no dynamic output before it."
                inside = _Visible(item=source)
                for op in ops:
                    yield from _refused(op, inside)
                    inside.add(op)
                if inside.dynamic or not inside.values.issuperset(results):
                    yield f"The lane of {source} gives what it does not have."
                visible.mapped.update(results)
            case _:
                assert_never(placement)


def _refused(op: StepOp | GlueOp, visible: _Visible) -> Iterator[str]:
    for op_input in inputs(op):
        if not visible.allows(op_input):
            yield f"Input {op_input.name} of {op.name} cannot be wired to {sources(op_input.wire)}."


def _wrong_edges(plan: JobPlan) -> Iterator[str]:
    by_name = {op.name: op for op in plan.ops()}
    planned = {
        (parent, op.step.name)
        for op in plan.step_ops()
        for op_input in op.inputs
        for parent in _origins(op_input, by_name)
    }
    wanted = {
        (step.name, target)
        for step in plan.flow.steps
        for target in targets(step.transition)
        if target != step.name
    }
    for parent, child in sorted(planned ^ wanted):
        yield f"The edge from step {parent} to step {child} is not the same in flow and job."


def _origins(op_input: Input, by_name: Mapping[str, StepOp | GlueOp]) -> Iterator[str]:
    """The steps from which an input comes, through any glue."""
    for source in sources(op_input.wire):
        op = by_name[source.op]
        match op:
            case StepOp():
                yield op.step.name
            case GlueOp():
                yield from _origins(op.input, by_name)
            case _:
                assert_never(op)
