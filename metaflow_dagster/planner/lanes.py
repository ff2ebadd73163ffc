"""Lanes: where each step's op lives.

A lane is a part of the job that Dagster runs as often as a dynamic output has items: the root
lane once, the lane of a foreach once an item.

    start ──foreach──▶ score ──▶ rank ──▶ gather ──▶ end

    root lane:           op_start, op_gather, op_end
    lane of op_start:    op_score, op_rank

Dagster cannot run an op downstream of two dynamic outputs, but one that collects may fan out
again; see `docs/architecture.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias, assert_never

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.ir import End, Flow, Foreach, Linear, Parallel, Split, Step, Switch

# The foreach steps around a step, outermost first.
LanePath: TypeAlias = tuple[str, ...]

ROOT: LanePath = ()


def assign_lanes(flow: Flow) -> Mapping[str, LanePath]:
    """The lane of every step of a flow whose shapes are supported."""
    lanes: dict[str, LanePath] = {}
    for step in flow.steps:
        lanes[step.name] = _lane(flow, step, lanes)
    return lanes


def _lane(flow: Flow, step: Step, lanes: Mapping[str, LanePath]) -> LanePath:
    if not step.parents:
        return ROOT
    parent = flow.step(step.parents[0])
    lane = lanes[parent.name]
    if closes_foreach(flow, step):
        return lane[:-1]
    if isinstance(parent.transition, Foreach):
        return (*lane, parent.name)
    return lane


def closes_foreach(flow: Flow, step: Step) -> bool:
    """Whether the step is the join of a foreach."""
    return step.joins is not None and isinstance(flow.step(step.joins).transition, Foreach)


def unsupported_shapes(flow: Flow) -> Iterator[Diagnostic]:
    """The steps whose place in the graph cannot be planned yet."""
    lanes: dict[str, LanePath] = {}
    for step in flow.steps:
        lanes[step.name] = _lane(flow, step, lanes)
        reason = _unsupported(step, lanes[step.name])
        if reason:
            yield Diagnostic(
                reason,
                "Run this flow with Metaflow's own runtime, or change the transition.",
                step.name,
                step.location,
            )


def _unsupported(step: Step, lane: LanePath) -> str | None:
    match step.transition:
        case Switch():
            return "a switch, self.next({...}, condition=...), is not supported yet."
        case Parallel():
            return "@parallel, self.next(..., num_parallel=...), is not supported yet."
        case Foreach() if lane:
            return f"a foreach inside the foreach of step {lane[-1]} is not supported yet."
        case Linear() | Split() | Foreach() | End():
            return None
        case _:
            assert_never(step.transition)
