"""The part of Metaflow's objects that the frontend reads, as types.

Metaflow is not annotated. Each attribute here is checked against its source in
`metaflow/graph.py`, `decorators.py`, `parameters.py`, `flowspec.py` or `cli.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol


class StepDecorator(Protocol):
    """`decorators.StepDecorator`."""

    name: str
    attributes: Mapping[str, Any]
    statically_defined: bool
    inserted_by: list[str] | None

    def step_task_retry_count(self) -> tuple[int | None, int | None]: ...
    def make_decorator_spec(self) -> str: ...


class UserStepDecorator(Protocol):
    """`user_decorators.user_step_decorator.UserStepDecoratorBase`."""

    decorator_name: str
    statically_defined: bool
    inserted_by: list[str] | None

    def make_decorator_spec(self) -> str: ...


class FlowDecorator(Protocol):
    """`decorators.FlowDecorator`."""

    name: str

    def get_top_level_options(self) -> Iterable[tuple[str, Any]]: ...


class ScheduleDecorator(FlowDecorator, Protocol):
    """`plugins.aws.step_functions.schedule_decorator.ScheduleDecorator` after `flow_init`."""

    schedule: str | None
    timezone: str | None


class TriggerDecorator(FlowDecorator, Protocol):
    """`plugins.events_decorator.TriggerDecorator` and `…TriggerOnFinishDecorator`."""

    triggers: list[dict[str, Any]]
    options: Any  # as the user wrote them

    def format_deploytime_value(self) -> None: ...


class Node(Protocol):
    """`graph.DAGNode`."""

    name: str
    type: str
    doc: str
    source_file: str
    func_lineno: int
    tail_next_lineno: int
    in_funcs: list[str]
    out_funcs: list[str]
    split_parents: list[str]
    split_branches: list[str]
    parallel_step: bool
    foreach_param: str | None
    parallel_foreach: bool
    condition: str | None
    decorators: list[StepDecorator]
    wrappers: list[UserStepDecorator]
    config_decorators: list[UserStepDecorator]


class Graph(Protocol):
    """`graph.FlowGraph`."""

    doc: str
    sorted_nodes: list[str]

    def __getitem__(self, name: str) -> Node: ...
    def __iter__(self) -> Iterator[Node]: ...


class FlowParameter(Protocol):
    """`parameters.Parameter` after `init`."""

    name: str
    kwargs: dict[str, Any]
    separator: str | None
    IS_CONFIG_PARAMETER: bool


class FlowObject(Protocol):
    """An instance of a `FlowSpec` subclass."""

    name: str

    def __iter__(self) -> Iterator[Any]: ...


class Plugin(Protocol):
    """A backend of Metaflow, such as a metadata provider."""

    TYPE: str


class Metadata(Plugin, Protocol):
    """`metadata_provider.MetadataProvider`."""

    def metadata_str(self) -> str: ...


class Environment(Plugin, Protocol):
    """`metaflow_environment.MetaflowEnvironment`."""

    def decospecs(self) -> Iterable[str] | None: ...


class Datastore(Plugin, Protocol):
    """`datastore.FlowDataStore`."""

    datastore_root: str


class CliState(Protocol):
    """The state that Metaflow's command line hands to its commands (`cli.start` fills it)."""

    flow: FlowObject
    graph: Graph
    environment: Environment
    metadata: Metadata
    event_logger: Plugin
    monitor: Plugin
    flow_datastore: Datastore
    entrypoint: list[str]
    tl_decospecs: list[str]
    logger: Any
