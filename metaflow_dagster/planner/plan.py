"""From steps and lanes to ops and wiring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from metaflow_dagster.diagnostics import raise_if_any
from metaflow_dagster.ir import (
    BranchOutputs,
    Collected,
    DynamicOutput,
    End,
    Flow,
    Foreach,
    Input,
    Item,
    JobPlan,
    Lane,
    Linear,
    One,
    Output,
    Parallel,
    Placement,
    SingleOutput,
    Source,
    Split,
    Step,
    StepOp,
    Switch,
    Wire,
)
from metaflow_dagster.names import (
    BRANCH_PREFIX,
    DAGSTER_RESERVED,
    INPUT_PREFIX,
    OP_PREFIX,
    Scope,
    ascii_name,
    is_dagster_name,
)
from metaflow_dagster.planner.lanes import (
    ROOT,
    LanePath,
    assign_lanes,
    closes_foreach,
    unsupported_shapes,
)


def plan_job(flow: Flow, job_name: str) -> JobPlan:
    """Plan the job of a flow; `CompileError` names the steps that cannot be planned."""
    raise_if_any(unsupported_shapes(flow))
    planner = _Planner(flow, job_name, assign_lanes(flow), _op_names(flow))
    return JobPlan(job_name, flow, tuple(planner.placements()))


def _op_names(flow: Flow) -> Mapping[str, str]:
    scope = Scope()
    return {step.name: scope.claim(OP_PREFIX + ascii_name(step.name)) for step in flow.steps}


@dataclass(frozen=True, slots=True)
class _Planner:
    flow: Flow
    job_name: str
    lanes: Mapping[str, LanePath]
    op_names: Mapping[str, str]

    def placements(self) -> Iterator[Placement]:
        """The root lane in topological order, each other lane right after the op it fans out."""
        for step in self.flow.steps:
            if self.lanes[step.name] == ROOT:
                yield self._op(step)
                if isinstance(step.transition, Foreach):
                    yield self._lane(step)

    def _lane(self, foreach: Step) -> Lane:
        path = (*self.lanes[foreach.name], foreach.name)
        steps = [step for step in self.flow.steps if self.lanes[step.name] == path]
        return Lane(
            Source(self.op_names[foreach.name]),
            tuple(self._op(step) for step in steps),
            tuple(self._results(path)),
        )

    def _results(self, path: LanePath) -> Iterator[Source]:
        """What a lane hands to the joins outside it."""
        for step in self.flow.steps:
            if closes_foreach(self.flow, step) and self.lanes[step.parents[0]] == path:
                yield from (self._source(parent, step) for parent in step.parents)

    def _op(self, step: Step) -> StepOp:
        names = Scope(DAGSTER_RESERVED)
        return StepOp(
            name=self.op_names[step.name],
            definition=f"{self.job_name}__{ascii_name(step.name)}",
            step=step,
            inputs=tuple(
                Input(_input_name(parent, names), self._wire(parent, step))
                for parent in step.parents
            ),
            output=_output(step),
            follows_foreach=self._follows_foreach(step),
        )

    def _wire(self, parent: str, step: Step) -> Wire:
        source = self._source(parent, step)
        if closes_foreach(self.flow, step):
            return Collected(source)
        if self._follows_foreach(step):
            return Item(source)
        return One(source)

    def _source(self, parent: str, step: Step) -> Source:
        """The output of the parent's op that leads to the step."""
        match _output(self.flow.step(parent)):
            case BranchOutputs(branches):
                return Source(self.op_names[parent], dict(branches)[step.name])
            case SingleOutput() | DynamicOutput():
                return Source(self.op_names[parent])

    def _follows_foreach(self, step: Step) -> bool:
        return any(
            isinstance(self.flow.step(parent).transition, Foreach) for parent in step.parents
        )


def _input_name(parent: str, names: Scope) -> str:
    plain = ascii_name(parent)
    return names.claim(plain if is_dagster_name(plain) else INPUT_PREFIX + plain)


def _output(step: Step) -> Output:
    match step.transition:
        case Split(targets):
            return _branch_outputs(targets)
        case Foreach():
            return DynamicOutput()
        case Linear() | End():
            return SingleOutput()
        case Switch() | Parallel():
            raise NotImplementedError(f"no output is planned for {step.transition}")
        case _:
            assert_never(step.transition)


def _branch_outputs(targets: tuple[str, ...]) -> BranchOutputs:
    names = Scope(DAGSTER_RESERVED)
    return BranchOutputs(tuple((target, _branch_name(target, names)) for target in targets))


def _branch_name(target: str, names: Scope) -> str:
    plain = ascii_name(target)
    # Dagster makes a namedtuple of the outputs, whose fields must not start with an underscore.
    usable = is_dagster_name(plain) and not plain.startswith("_")
    return names.claim(plain if usable else BRANCH_PREFIX + plain)
