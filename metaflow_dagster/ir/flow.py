"""The first intermediate representation: what the frontend reads of a Metaflow flow.

Steps, transitions, parameters, backend and what starts runs, without any Metaflow object in it.

    class Hello(FlowSpec):              Flow("Hello", steps=(
        @step                               Step("start", Linear("end"), parents=()),
        def start(self):                    Step("end", End(), parents=("start",))))
            self.next(self.end)
        @step
        def end(self):
            pass

Everything here is frozen. Unions are closed: match them with `match` and `assert_never`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from typing_extensions import assert_never

from metaflow_dagster.ir.assets import ArtifactAsset, ArtifactCheck, Check, CheckFunction, Dimension

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
class Pod:
    """The pod that a step asks for, in the words of Kubernetes' API.

    Pairs of an attribute and its value: of the container, of the pod's specification and of its
    metadata. `beyond_dagster` names what is asked for that only pods of Metaflow's have.
    `by_kubernetes` is whether `@kubernetes` asks for it, and not `@resources` alone. `faults` say
    why no pod can be made of the attributes, which matters only where one is.
    """

    container: tuple[tuple[str, Literal], ...] = ()
    spec: tuple[tuple[str, Literal], ...] = ()
    metadata: tuple[tuple[str, Literal], ...] = ()
    beyond_dagster: tuple[str, ...] = ()
    by_kubernetes: bool = False
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the flow.

    `parents` are in the flow's topological order. `joins` names the split or foreach step whose
    branches this step joins, or is None. `decorators` are the specs of decorators that the flow's
    source does not hold (`--with`), which Metaflow has to be told again when the step runs.
    `inherited` are the variables that `@environment` only passes on from whoever starts the step.
    `timeout` is in seconds (`@timeout`). `hooks` names the decorators of the step that take part in
    how its process is started (`@kubernetes`, `@conda`), for which Metaflow needs the flow itself.
    `pod` is what `@kubernetes` or `@resources` ask for. `has_cards` says that its tasks may
    leave cards (`@card`). `class_name` is the qualified name of the class that defines it.
    `applied` names all of its decorators, in the order in which Metaflow has them.
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
    inherited: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    pod: Pod | None = None
    has_cards: bool = False
    class_name: str = ""
    applied: tuple[str, ...] = ()


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


def end_event(flow_name: str, project: Project | None) -> str:
    """The event that a run of a flow has succeeded, as Metaflow's Argo deployer names it."""
    parts = (project.name, project.branch) if project else ()
    return ".".join(("metaflow", *parts, flow_name, "end"))


def is_end_event(name: str) -> bool:
    """Whether a name is one that Metaflow gives to the events of ends of runs."""
    return name.startswith("metaflow.") and name.endswith(".end")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times: `cron` in Dagster's notation, and the name of its timezone, None for UTC."""

    cron: str
    timezone: str | None = None

    def __str__(self) -> str:
        return f"at the times of {self.cron} ({self.timezone or 'UTC'})"


class TriggerKind(Enum):
    """The type of an event that triggered a run, as Metaflow names it (metaflow/events.py)."""

    EVENT = "event"  # something that somebody has published
    RUN = "run"  # the end of a run


@dataclass(frozen=True, slots=True)
class Event:
    """An event that starts runs; pairs of a parameter and the field of the payload it takes."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that starts a run when all of its events have happened.

    At the times of `reset_at`, those that have happened before are forgotten.
    """

    kind: TriggerKind
    events: tuple[Event, ...]
    reset_at: Schedule | None = None

    def __str__(self) -> str:
        names = [event.name for event in self.events]
        match self.kind:
            case TriggerKind.EVENT if len(names) == 1:
                return f"when event {names[0]} is published"
            case TriggerKind.EVENT:
                return f"when events {' and '.join(names)} have been published"
            case TriggerKind.RUN:
                flows = [name.removeprefix("metaflow.").removesuffix(".end") for name in names]
                return f"when a run of {' and one of '.join(flows)} has succeeded"
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, slots=True)
class CodePackage:
    """The code of a flow as Metaflow packs it: its key in the datastore, and how it is packed."""

    sha: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow, ready to be planned.

    `file` is the absolute path of the file that runs it. `steps` are in topological order.
    `top_options` are command line options that flow decorators (such as `@project`) need on every
    command; `given_options` are the top-level options the user gave, for the regenerate command.
    `decospecs` are the decorators that were added to every step, as they were given. `code` is the
    package that machines take which do not have the file. `applied` names the flow's decorators,
    `imports` the modules of others that `file` imports at its top level. `dimensions` are the
    partitions of the runs, none, of one or of two dimensions. `assets` are artifacts that are
    assets of their own, `checks` are made of what steps have left.
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
    schedule: Schedule | None = None
    triggers: tuple[Trigger, ...] = ()
    top_options: tuple[str, ...] = ()
    given_options: tuple[str, ...] = ()
    decospecs: tuple[str, ...] = ()
    code: CodePackage | None = None
    applied: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    assets: tuple[ArtifactAsset, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def end_event(self) -> str:
        """The event that a run of this flow has succeeded."""
        return end_event(self.name, self.project)

    def checked_asset(self, check: Check) -> tuple[str, ...]:
        """The key of the asset that a check is of: the artifact's, a step's, or the flow's own."""
        match check:
            case ArtifactCheck(step=step, artifact=name):
                keys = (
                    each.key for each in self.assets if (each.step, each.artifact) == (step, name)
                )
            case CheckFunction(step=step):
                keys = (each.key for each in self.assets if each.step == step)
            case _:
                assert_never(check)
        return next(keys, (self.end_event,))

    def dimension_of(self, parameter: str) -> Dimension | None:
        """The dimension of the partitions that a parameter takes its value from."""
        return next((each for each in self.dimensions if parameter in each.parameters), None)

    @property
    def config_parameters(self) -> tuple[Parameter, ...]:
        """The parameters that a run is given; the others take their values from its partition."""
        return tuple(each for each in self.parameters if self.dimension_of(each.name) is None)

    def step(self, name: str) -> Step:
        """The step of that name; `KeyError` if there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)
