"""The two intermediate representations of the compiler.

`Flow` is what the frontend reads: steps, transitions, parameters and backend of a Metaflow flow,
without any Metaflow object in it. `JobPlan` is what the planner makes of it: ops, lanes and
wiring of a Dagster job, without any syntax in it.

    class Hello(FlowSpec):              Flow("Hello", steps=(
        @step                               Step("start", Linear("end"), parents=()),
        def start(self):                    Step("end", End(), parents=("start",))))
            self.next(self.end)
        @step                           JobPlan("Hello", placements=(
        def end(self):                      StepOp("op_start", inputs=(), output=TaskOutput()),
            pass                            StepOp("op_end", inputs=(Input("start", One(…)),), …)))

Everything here is frozen. Unions are closed: match them with `match` and `assert_never`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

# What a generated file can hold as a literal.
Literal: TypeAlias = (
    "str | int | float | bool | list[Literal] | tuple[Literal, ...] | dict[str, Literal] | None"
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where something stands in the user's source: path as Python knows it, and 1-based line."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Linear:
    """`self.next(self.target)`, from a plain step or a join."""

    target: str


@dataclass(frozen=True, slots=True)
class Split:
    """`self.next(self.a, self.b)`: every target runs."""

    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Foreach:
    """`self.next(self.target, foreach="artifact")`: the target runs once an item."""

    target: str
    artifact: str


@dataclass(frozen=True, slots=True)
class Parallel:
    """`self.next(self.target, num_parallel=n)`: the target runs on n nodes at once."""

    target: str


@dataclass(frozen=True, slots=True)
class Switch:
    """`self.next({case: self.a, ...}, condition="artifact")`: one of the targets runs.

    A target may be the step itself, which then runs again (a recursive switch).
    """

    targets: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class End:
    """The last step of the flow."""


Transition: TypeAlias = Linear | Split | Foreach | Parallel | Switch | End


def targets(transition: Transition) -> tuple[str, ...]:
    """The steps a transition can lead to, in the order the flow names them, each once."""
    match transition:
        case Linear(target) | Foreach(target, _) | Parallel(target):
            return (target,)
        case Split(names) | Switch(names, _):
            return tuple(dict.fromkeys(names))
        case End():
            return ()


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a task may be tried again, as Metaflow's decorators of its step add up.

    `user_code` comes from `@retry`, `error` from `@catch`, whose last attempts run its fallback
    and not the user's code. `minutes_between` is the pause before each retry.
    """

    user_code: int = 0
    error: int = 0
    minutes_between: int = 0

    @property
    def most(self) -> int:
        """Retries after the first attempt."""
        return self.user_code + self.error


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the flow.

    `parents` are in the flow's topological order. `joins` names the split or foreach step whose
    branches this step joins, or is None. `decorators` are the specs of decorators that the flow's
    source does not hold (`--with`), which Metaflow has to be told again when the step runs.
    `timeout` is in seconds (`@timeout`). `has_hooks` says that decorators of the step take part in
    how its process is started (`@kubernetes`, `@conda`), for which Metaflow needs the flow itself.
    `has_cards` says that its tasks may leave cards (`@card`).
    """

    name: str
    transition: Transition
    parents: tuple[str, ...]
    location: Location
    joins: str | None = None
    description: str = ""
    retries: Retries = Retries()
    timeout: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    decorators: tuple[str, ...] = ()
    has_hooks: bool = False
    has_cards: bool = False


class ParameterKind(Enum):
    """How a parameter is typed in Dagster and turned into text for Metaflow."""

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    JSON = "json"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Required:
    """A run has to give the parameter a value."""


@dataclass(frozen=True, slots=True)
class LeftToMetaflow:
    """Not given means that Metaflow applies what the flow says when the run starts."""


@dataclass(frozen=True, slots=True)
class DefaultValue:
    """A default known at compile time."""

    value: Literal


@dataclass(frozen=True, slots=True)
class DefaultPath:
    """A default that names a file; absolute here, portable in the generated file."""

    path: str


Default: TypeAlias = Required | LeftToMetaflow | DefaultValue | DefaultPath


@dataclass(frozen=True, slots=True)
class Parameter:
    """A flow parameter under the name the user gave it."""

    name: str
    kind: ParameterKind
    default: Default
    description: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """The value of a flow's Config at compile time; a plain one is not wrapped for the flow."""

    name: str
    value: Literal
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Backend:
    """Where Metaflow keeps metadata and artifacts, as configured at compile time.

    `datastore_root` is None where Metaflow's default applies: a `.metaflow` directory found at run
    time. `local_sysroot` is the configured parent of that directory. `settings` are further
    `METAFLOW_*` variables that differ from the defaults and hold no credential.
    """

    metadata: str = "local"
    datastore: str = "local"
    datastore_root: str | None = None
    environment: str = "local"
    event_logger: str = "nullSidecarLogger"
    monitor: str = "nullSidecarMonitor"
    local_sysroot: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """The project of a flow (`@project`), and the branch of it that is compiled."""

    name: str
    branch: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow, ready to be planned.

    `file` is the absolute path of the file that runs it. `steps` are in topological order.
    `top_options` are command line options that flow decorators (such as `@project`) need on every
    command; `given_options` are the top-level options the user gave, for the regenerate command.
    `decospecs` are the decorators that were added to every step, as they were given.
    """

    name: str
    file: str
    steps: tuple[Step, ...]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    configs: tuple[Config, ...] = ()
    backend: Backend = Backend()
    job_name: str = ""
    project: Project | None = None
    top_options: tuple[str, ...] = ()
    given_options: tuple[str, ...] = ()
    decospecs: tuple[str, ...] = ()

    def step(self, name: str) -> Step:
        """The step of that name; `KeyError` if there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


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


@dataclass(frozen=True, slots=True)
class Gather:
    """Takes what a lane gives out of the lane, as a list, so that it can be fanned in."""


@dataclass(frozen=True, slots=True)
class Regroup:
    """Fans task paths out again, once for each of their outer `depth` foreach indices."""

    depth: int


@dataclass(frozen=True, slots=True)
class FanOut:
    """Fans the items of foreaches out that ran in a lane themselves."""


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
