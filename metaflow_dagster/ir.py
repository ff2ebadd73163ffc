"""The two intermediate representations of the compiler.

`Flow` is what the frontend reads: steps, transitions, parameters and backend of a Metaflow flow,
without any Metaflow object in it. `JobPlan` is what the planner makes of it: ops, lanes and
wiring of a Dagster job, without any syntax in it.

    class Hello(FlowSpec):              Flow("Hello", steps=(
        @step                               Step("start", Linear("end"), parents=()),
        def start(self):                    Step("end", End(), parents=("start",))))
            self.next(self.end)
        @step                           JobPlan("Hello", root=(
        def end(self):                      StepOp("op_start", output=Value(), inputs=()),
            pass                            StepOp("op_end", inputs=(Input("start", One(...)),))))

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
    """`self.next({case: self.a, ...}, condition="artifact")`: one of the targets runs."""

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
    """

    name: str
    transition: Transition
    parents: tuple[str, ...]
    location: Location
    joins: str | None = None
    description: str = ""
    retries: Retries = Retries()
    environment: tuple[tuple[str, str], ...] = ()
    decorators: tuple[str, ...] = ()


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
class Flow:
    """A flow, ready to be planned.

    `file` is the absolute path of the file that runs it. `steps` are in topological order.
    `top_options` are command line options that flow decorators (such as `@project`) need on every
    command; `given_options` are the top-level options the user gave, for the regenerate command.
    """

    name: str
    file: str
    steps: tuple[Step, ...]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    backend: Backend = Backend()
    job_name: str = ""
    top_options: tuple[str, ...] = ()
    given_options: tuple[str, ...] = ()

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
    """An input that is the value of one output."""

    source: Source


@dataclass(frozen=True, slots=True)
class Item:
    """An input that is one item of a lane's dynamic output."""

    source: Source


@dataclass(frozen=True, slots=True)
class Collected:
    """An input that is the list of what a source gives in every item of its lane."""

    source: Source


Wire: TypeAlias = One | Item | Collected


@dataclass(frozen=True, slots=True)
class Input:
    """An input of an op: `name` is legal as a Dagster input and as a Python parameter."""

    name: str
    wire: Wire


@dataclass(frozen=True, slots=True)
class SingleOutput:
    """The op gives the path of its task."""


@dataclass(frozen=True, slots=True)
class BranchOutputs:
    """The op gives the path of its task on one output a branch: pairs of target and output name."""

    branches: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DynamicOutput:
    """The op gives the path of its task once an item of its foreach."""


Output: TypeAlias = SingleOutput | BranchOutputs | DynamicOutput


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
class Lane:
    """The ops that Dagster runs once an item of the dynamic output `source`.

    `results` are the ops of the lane whose outputs are used outside it.
    """

    source: Source
    ops: tuple[StepOp, ...]
    results: tuple[Source, ...]


Placement: TypeAlias = StepOp | Lane


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A Dagster job: what to invoke, in an order in which everything is defined before its use."""

    name: str
    flow: Flow
    placements: tuple[Placement, ...]

    def ops(self) -> Iterator[StepOp]:
        """Every op, those of lanes included, in topological order."""
        for placement in self.placements:
            match placement:
                case StepOp():
                    yield placement
                case Lane():
                    yield from placement.ops
