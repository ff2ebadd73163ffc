"""From steps to ops, lanes and wiring.

Facts about Dagster that shape this (`docs/architecture.md` has the reproductions): an op cannot
be downstream of two dynamic outputs, but one that collects may fan out again. An op with an input
that was skipped is skipped, unless that input is a fan-in list with another member. Members of a
fan-in list cannot be downstream of a dynamic output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import assert_never

from metaflow_dagster.ir.flow import (
    End,
    Flow,
    Foreach,
    Linear,
    Parallel,
    Split,
    Step,
    Switch,
    targets,
)
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
    Placement,
    Regroup,
    Source,
    SplitOutputs,
    StepOp,
    SwitchOutputs,
    TaskOutput,
    inputs,
    outputs,
    sources,
)
from metaflow_dagster.planner.op_names import OpNames, branch_names, input_names

SEVERAL = "inputs"  # the input of an op that takes a list from several parents
PATHS = "paths"  # the input of a glue op


def plan_job(flow: Flow, job_name: str) -> JobPlan:
    """Plan the job of a flow."""
    planner = _Planner(flow, OpNames(flow, job_name))
    for step in flow.steps:
        planner.place(step)
    return JobPlan(job_name, flow, planner.placements())


@dataclass(slots=True)
class _OpenLane:
    """A lane that is being filled; the root lane has no source."""

    source: Source | None
    content: list[StepOp | GlueOp | _OpenLane] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Value:
    """The value that a step gets from an output: its source, lane and how deep its lists are."""

    parent: str
    source: Source
    lane: _OpenLane
    nesting: int


class _Planner:
    def __init__(self, flow: Flow, names: OpNames) -> None:
        self._steps = {step.name: step for step in flow.steps}
        self._names = names
        self._root = _OpenLane(None)
        self._lanes: dict[str, _OpenLane] = {}  # by step
        self._ops: dict[str, StepOp] = {}  # by step
        self._branches: dict[str, Mapping[str, str]] = {}  # by step: outputs by target
        self._depths: dict[str, int] = {}  # foreaches around a step

    def place(self, step: Step) -> None:
        """Give a step its op, after all its parents have theirs."""
        self._depths[step.name] = self._depth(step)
        lane, inputs = self._arrival(step)
        name = self._names.of_step(step.name)
        op = StepOp(
            name,
            self._names.definition(name),
            step,
            inputs,
            self._output(step, lane),
            self._follows_foreach(step),
        )
        lane.content.append(op)
        self._lanes[step.name], self._ops[step.name] = lane, op
        self._branches[step.name] = _branches(op.output)

    def placements(self) -> tuple[Placement, ...]:
        """The finished plan, with the results of each lane."""
        used = (
            source
            for op in _ops_in(self._root)
            for op_input in inputs(op)
            if not isinstance(op_input.wire, (One, Item))
            for source in sources(op_input.wire)
        )
        order = {source: index for index, source in enumerate(dict.fromkeys(used))}
        return tuple(_placement(part, order) for part in self._root.content)

    def _depth(self, step: Step) -> int:
        if not step.parents:
            return 0
        joined = self._steps[step.joins].transition if step.joins else None
        change = int(self._follows_foreach(step)) - int(isinstance(joined, Foreach))
        return self._depths[step.parents[0]] + change

    def _follows_foreach(self, step: Step) -> bool:
        return any(isinstance(self._steps[parent].transition, Foreach) for parent in step.parents)

    def _output(self, step: Step, lane: _OpenLane) -> Output:
        match step.transition:
            case Linear() if self._is_parallel(step):
                return NodesOutput()
            case Linear() | Parallel() | End():
                return TaskOutput()
            case Split(names):
                return SplitOutputs(branch_names(names))
            case Switch():
                others = tuple(other for other in targets(step.transition) if other != step.name)
                return SwitchOutputs(branch_names(others))
            case Foreach(target):
                alone = len(self._steps[target].parents) == 1
                return ForeachOutput() if alone and lane is self._root else ForeachList()
            case _:
                assert_never(step.transition)

    def _is_parallel(self, step: Step) -> bool:
        return any(isinstance(self._steps[parent].transition, Parallel) for parent in step.parents)

    def _arrival(self, step: Step) -> tuple[_OpenLane, tuple[Input, ...]]:
        """The lane a step runs in, and the inputs of its op."""
        values = [self._value(parent, step) for parent in step.parents]
        if not values:
            return self._root, ()
        if self._follows_foreach(step):
            return self._foreach_item(step, values)
        if self._meet_directly(step, values):
            names = input_names(step.parents)
            return values[0].lane, tuple(
                Input(name, One(value.source), value.nesting)
                for name, value in zip(names, values, strict=True)
            )
        if self._depths[step.name] == 0:
            return self._root, (self._list_input(_list_name(step), values),)
        glue = Regroup(self._depths[step.name])
        source = self._glue("regroup", step.name, glue, self._list_input(PATHS, values))
        return self._open_lane(source), (Input(_list_name(step), Item(source), 1),)

    def _value(self, parent: str, step: Step) -> _Value:
        op = self._ops[parent]
        source = Source(op.name)
        nesting = 0
        match op.output:
            case SplitOutputs() | SwitchOutputs():
                source = Source(op.name, self._branches[parent][step.name])
            case ForeachList() | NodesOutput():
                nesting = 1
            case TaskOutput() | ForeachOutput():
                pass
            case _:
                assert_never(op.output)
        return _Value(parent, source, self._lanes[parent], nesting)

    def _meet_directly(self, step: Step, values: Sequence[_Value]) -> bool:
        """Whether each parent feeds an input of its own.

        All have to be in one lane and sure to run: a split's join with an end for each branch is,
        since nothing else leads from the branch to the join.
        """
        joined = self._steps[step.joins].transition if step.joins else None
        if isinstance(joined, Foreach) or any(value.lane is not values[0].lane for value in values):
            return False
        return len(values) == 1 or (
            isinstance(joined, Split) and len(values) == len(joined.targets)
        )

    def _foreach_item(
        self, step: Step, values: Sequence[_Value]
    ) -> tuple[_OpenLane, tuple[Input, ...]]:
        if len(values) == 1 and values[0].lane is self._root:
            lane = self._open_lane(values[0].source)
            return lane, (Input(input_names(step.parents)[0], Item(values[0].source)),)
        foreach = step.parents[0] if len(values) == 1 else step.name
        source = self._glue("fan_out", foreach, FanOut(), self._list_input(PATHS, values))
        return self._open_lane(source), (Input(_list_name(step), Item(source)),)

    def _list_input(self, name: str, values: Sequence[_Value]) -> Input:
        """An input in the root lane that takes all values there are, as a list."""
        if len(values) == 1 and values[0].lane is not self._root:
            return Input(name, Collected(values[0].source), values[0].nesting + 1)
        gathered = [self._in_root_lane(value) for value in values]
        nesting = max(value.nesting for value in gathered) + 1
        return Input(name, FanIn(tuple(value.source for value in gathered)), nesting)

    def _in_root_lane(self, value: _Value) -> _Value:
        if value.lane is self._root:
            return value
        collected = Input(PATHS, Collected(value.source), value.nesting + 1)
        source = self._glue("gather", value.parent, Gather(), collected)
        return _Value(value.parent, source, self._root, 1)

    def _glue(self, purpose: str, step: str, glue: Glue, op_input: Input) -> Source:
        name = self._names.glue(purpose, step)
        self._root.content.append(GlueOp(name, self._names.definition(name), step, glue, op_input))
        return Source(name)

    def _open_lane(self, source: Source) -> _OpenLane:
        lane = _OpenLane(source)
        self._root.content.append(lane)
        return lane


def _list_name(step: Step) -> str:
    """The only input of an op: after its parent, unless there are several."""
    return input_names(step.parents)[0] if len(step.parents) == 1 else SEVERAL


def _ops_in(lane: _OpenLane) -> list[StepOp | GlueOp]:
    return [
        op
        for part in lane.content
        for op in (_ops_in(part) if isinstance(part, _OpenLane) else [part])
    ]


def _branches(output: Output) -> Mapping[str, str]:
    """The outputs that lead to one target each, by target."""
    return dict(output.branches) if isinstance(output, (SplitOutputs, SwitchOutputs)) else {}


def _placement(part: StepOp | GlueOp | _OpenLane, order: Mapping[Source, int]) -> Placement:
    """An op as it is; a lane with its ops, and its results in the order of their use."""
    if not isinstance(part, _OpenLane):
        return part
    assert part.source is not None
    ops = tuple(op for op in part.content if isinstance(op, StepOp))
    results = [source for op in ops for source in outputs(op) if source in order]
    return Lane(part.source, ops, tuple(sorted(results, key=order.__getitem__)))
