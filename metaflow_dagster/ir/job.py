"""The second intermediate representation: what the planner makes of a flow.

Ops, lanes and wiring of a Dagster job, without any syntax in it. Of the flow in
`metaflow_dagster.ir.flow`:

    JobPlan("Hello", flow, placements=(
        StepOp("op_start", inputs=(), output=TaskOutput()),
        StepOp("op_end", inputs=(Input("start", One(…)),), …)))

Everything here is frozen. Unions are closed: match them with `match` and `assert_never`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from metaflow_dagster.ir.flow import Flow, Step


@dataclass(frozen=True, slots=True)
class Source:
    """One output of one op: `op` is its node name, `output` the name or None for the only one."""

    op: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class One:
    """The value of an output in the same lane."""

    source: Source


@dataclass(frozen=True, slots=True)
class Item:
    """The item of the lane that the op is in."""

    source: Source


@dataclass(frozen=True, slots=True)
class Collected:
    """A list: what an output gives in each item of its lane."""

    source: Source


@dataclass(frozen=True, slots=True)
class FanIn:
    """A list: the values of those of the outputs that were not skipped."""

    sources: tuple[Source, ...]


Wire: TypeAlias = One | Item | Collected | FanIn


def sources(wire: Wire) -> tuple[Source, ...]:
    """The outputs a wire comes from."""
    match wire:
        case One(source) | Item(source) | Collected(source):
            return (source,)
        case FanIn(several):
            return several


@dataclass(frozen=True, slots=True)
class Input:
    """An input of an op: `name` is legal as a Dagster input and as a Python parameter.

    `nesting` is how deep the lists are in which task paths arrive: 0 is a single path.
    """

    name: str
    wire: Wire
    nesting: int = 0


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """The path of the task."""


@dataclass(frozen=True, slots=True)
class SplitOutputs:
    """The path of the task, once a branch: pairs of target step and output name."""

    branches: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SwitchOutputs:
    """The path of the task, on the output of the chosen branch only."""

    branches: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ForeachOutput:
    """A dynamic output: the path of the task, once an item of its foreach."""


@dataclass(frozen=True, slots=True)
class ForeachList:
    """The same as a list, for a foreach whose items another op fans out."""


@dataclass(frozen=True, slots=True)
class NodesOutput:
    """The paths of the tasks of all nodes of a parallel step, as a list."""


Output: TypeAlias = (
    TaskOutput | SplitOutputs | SwitchOutputs | ForeachOutput | ForeachList | NodesOutput
)


@dataclass(frozen=True, slots=True)
class StepOp:
    """The op that runs a step.

    `name` is what the job graph and run config show, `definition` is unique in a code location.
    `follows_foreach` says that the task is an item of a foreach and needs its split index.
    """

    name: str
    definition: str
    step: Step
    inputs: tuple[Input, ...]
    output: Output
    follows_foreach: bool = False


# Of each glue: whether its output is dynamic, whether a value of that is a list of task paths, and
# what ends the name of the variable that holds it in the job.


@dataclass(frozen=True, slots=True)
class Gather:
    """Takes what a lane gives out of the lane, as a list, so that it can be fanned in."""

    is_dynamic: ClassVar[bool] = False
    gives_lists: ClassVar[bool] = True
    suffix: ClassVar[str] = "list"

    @property
    def purpose(self) -> str:
        """The purpose of the op, as people read it."""
        return "gathers the tasks of all items of a foreach into one list"


@dataclass(frozen=True, slots=True)
class Regroup:
    """Fans task paths out again, once for each of their outer `depth` foreach indices."""

    is_dynamic: ClassVar[bool] = True
    gives_lists: ClassVar[bool] = True
    suffix: ClassVar[str] = "groups"
    depth: int

    @property
    def purpose(self) -> str:
        """The purpose of the op, as people read it."""
        around = "the foreach" if self.depth == 1 else f"{self.depth} foreaches"
        return f"brings the tasks together that belong to one item of {around}"


@dataclass(frozen=True, slots=True)
class FanOut:
    """Fans the items of foreaches out that ran in a lane themselves."""

    is_dynamic: ClassVar[bool] = True
    gives_lists: ClassVar[bool] = False
    suffix: ClassVar[str] = "items"

    @property
    def purpose(self) -> str:
        """The purpose of the op, as people read it."""
        return "fans out the items of a foreach inside a foreach"


Glue: TypeAlias = Gather | Regroup | FanOut


@dataclass(frozen=True, slots=True)
class GlueOp:
    """An op that runs no step but leads task paths from lane to lane. It is in the root lane.

    `step` is the step whose tasks it gathers or fans out, or for which it regroups them.
    """

    name: str
    definition: str
    step: str
    glue: Glue
    input: Input


@dataclass(frozen=True, slots=True)
class Lane:
    """The ops that Dagster runs once an item of the dynamic output `source`.

    `results` are the outputs of these ops that are used outside the lane.
    """

    source: Source
    ops: tuple[StepOp, ...]
    results: tuple[Source, ...]


Placement: TypeAlias = StepOp | GlueOp | Lane


def inputs(op: StepOp | GlueOp) -> tuple[Input, ...]:
    """The inputs of an op, in order."""
    return op.inputs if isinstance(op, StepOp) else (op.input,)


def is_dynamic(op: StepOp | GlueOp) -> bool:
    """Whether the output of an op is dynamic, so that a lane may begin with it."""
    match op:
        case StepOp(output=output):
            return isinstance(output, ForeachOutput)
        case GlueOp(glue=glue):
            return glue.is_dynamic


def outputs(op: StepOp | GlueOp) -> tuple[Source, ...]:
    """The outputs of an op, in the order in which Dagster returns them."""
    match op:
        case StepOp(output=(SplitOutputs(branches) | SwitchOutputs(branches))):
            return tuple(Source(op.name, output) for _, output in branches)
        case StepOp() | GlueOp():
            return (Source(op.name),)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A Dagster job: what to invoke, in an order in which everything is defined before its use."""

    name: str
    flow: Flow
    placements: tuple[Placement, ...]

    def ops(self) -> Iterator[StepOp | GlueOp]:
        """Every op, those of lanes included."""
        for placement in self.placements:
            match placement:
                case StepOp() | GlueOp():
                    yield placement
                case Lane():
                    yield from placement.ops

    def step_ops(self) -> Iterator[StepOp]:
        """The ops that run a step."""
        return (op for op in self.ops() if isinstance(op, StepOp))
