"""A plan as text, for people and for tests.

job Train
    op_start() -> one item each
    for each item of op_start:
        op_score(item)
    op_join([op_score, …])
"""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import assert_never

from metaflow_dagster.ir.job import (
    Collected,
    FanIn,
    FanOut,
    ForeachList,
    ForeachOutput,
    Gather,
    Glue,
    GlueOp,
    Input,
    Item,
    JobPlan,
    Lane,
    NodesOutput,
    One,
    Output,
    Regroup,
    Source,
    SplitOutputs,
    StepOp,
    SwitchOutputs,
    TaskOutput,
)


def show_plan(plan: JobPlan) -> str:
    """The plan, one op a line."""
    return "".join(f"{line}\n" for line in _lines(plan))


def _lines(plan: JobPlan) -> Iterator[str]:
    yield f"job {plan.name}"
    for placement in plan.placements:
        match placement:
            case StepOp() | GlueOp():
                yield f"    {_op(placement)}"
            case Lane(source, ops, _):
                yield f"    for each item of {_source(source)}:"
                yield from (f"        {_op(op)}" for op in ops)
            case _:
                assert_never(placement)


def _op(op: StepOp | GlueOp) -> str:
    if isinstance(op, StepOp):
        return f"{op.name}({', '.join(map(_input, op.inputs))}){_output(op.output)}"
    return f"{op.name}({_input(op.input)}){_glue(op.glue)}  # plumbing"


def _glue(glue: Glue) -> str:
    match glue:
        case Gather():
            return ""
        case FanOut():
            return " -> one item each"
        case Regroup(depth):
            return f" -> one item a path of {depth} foreach indices"
        case _:
            assert_never(glue)


def _input(op_input: Input) -> str:
    match op_input.wire:
        case One(source):
            return _source(source)
        case Item():
            return "item"
        case Collected(source):
            return f"[{_source(source)}, …]"
        case FanIn(several):
            return f"[{' | '.join(map(_source, several))}]"
        case _:
            assert_never(op_input.wire)


def _source(source: Source) -> str:
    return f"{source.op}.{source.output}" if source.output else source.op


def _output(output: Output) -> str:
    match output:
        case TaskOutput():
            return ""
        case SplitOutputs(branches):
            return " -> " + " and ".join(name for _, name in branches)
        case SwitchOutputs(branches):
            return " -> " + " or ".join(name for _, name in branches)
        case ForeachOutput():
            return " -> one item each"
        case ForeachList():
            return " -> items as a list"
        case NodesOutput():
            return " -> nodes as a list"
        case _:
            assert_never(output)
