"""The meaning of decorators of steps and flows for the job, and those that are not supported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from metaflow.decorators import StepDecorator as MetaflowStepDecorator
from metaflow.metaflow_config import MAX_ATTEMPTS
from metaflow.plugins.environment_decorator import EnvironmentDecorator
from metaflow.plugins.parallel_decorator import ParallelDecorator
from metaflow.plugins.timeout_decorator import TimeoutDecorator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import is_secret_variable
from metaflow_dagster.frontend.protocols import (
    FlowObject,
    Graph,
    Node,
    StepDecorator,
    UserStepDecorator,
)
from metaflow_dagster.frontend.session import STUMBLES
from metaflow_dagster.frontend.texts import LONGEST_VARIABLE, fits_environment, short
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Location, Retries

# What `metaflow/runtime.py: NativeRuntime` calls of a step's decorators.
_RUNTIME_HOOKS = ("runtime_init", "runtime_task_created", "runtime_step_cli", "runtime_finished")

# What `os.getenv(NAME, "")` and `os.getenv(NAME)` make of a variable that is not set.
_OF_NO_VARIABLE = ("", "None")

_LONGEST_PAUSE = 60 * 24 * 366  # minutes, a year

# Flow decorators whose effect would be lost: what they ask for is the orchestrator's to do.
_UNSUPPORTED_OF_FLOW = {
    "exit_hook": "Use a Dagster hook or run status sensor, or take @exit_hook off.",
}


def check_decorators(flow: FlowObject, graph: Graph) -> Iterator[Diagnostic]:
    """Decorators whose effect the generated job would not have."""
    for name in MetaflowFlow.decorators(flow):
        if name in _UNSUPPORTED_OF_FLOW or name.startswith("airflow_"):
            hint = _UNSUPPORTED_OF_FLOW.get(name, "Use a Dagster sensor, or take it off.")
            yield Diagnostic(f"@{name} is not supported yet.", hint)
    for name in graph.sorted_nodes:
        node = graph[name]
        yield from _environment(node)
        yield from _pauses(node)
        yield from _unwritable(node)


def read_hooks(node: Node) -> tuple[str, ...]:
    """The decorators of a step that take part in how Metaflow's runtime starts its process."""
    return tuple(decorator.name for decorator in node.decorators if _is_hooked(decorator))


def read_names(node: Node) -> tuple[str, ...]:
    """The names of the decorators of a step, the user's own and step mutators included."""
    own = (decorator.decorator_name for decorator in chain(node.wrappers, node.config_decorators))
    return (
        *(name.rpartition(".")[2] for name in own),  # without their module
        *(decorator.name for decorator in node.decorators),
    )


def _is_hooked(decorator: StepDecorator) -> bool:
    """Whether a decorator overrides one of the hooks that Metaflow's runtime calls.

    `@environment` only sets variables, which we set ourselves; `@parallel` is a matter of the
    graph.
    """
    kind: Any = type(decorator)
    if kind in (EnvironmentDecorator, ParallelDecorator) or not issubclass(
        kind, MetaflowStepDecorator
    ):
        return False
    return any(
        getattr(kind, hook) is not getattr(MetaflowStepDecorator, hook)
        or getattr(kind, f"{hook}_ctx", None) is not None
        for hook in _RUNTIME_HOOKS
    )


def _environment(node: Node) -> Iterator[Diagnostic]:
    """Check the variables of `@environment`."""
    given = [
        decorator.attributes["vars"]
        for decorator in node.decorators
        if decorator.name == "environment"
    ]
    if not all(isinstance(variables, Mapping) for variables in given):
        yield _of_step(
            node,
            "The vars of @environment are no dictionary.",
            """On the command line they are JSON: --with 'environment:vars={"NAME": "value"}'.""",
        )
        return
    for variable, value in chain.from_iterable(variables.items() for variables in given):
        if not _is_variable(variable, str(value)):
            yield _of_step(
                node,
                f"@environment: {short(variable)}={short(value)} cannot be given to a process.",
                "Names are texts without `=`, and neither names nor values have a NUL in them or "
                f"are longer than {LONGEST_VARIABLE} bytes.",
            )
            return
    for variable, value in read_environment(node):
        if is_secret_variable(variable, value):
            yield _of_step(
                node,
                f"@environment sets {variable}, which looks like a credential; its value would "
                "stand in the generated file.",
                "Set it in the environment where Dagster runs the steps, and let its value here be "
                f"os.getenv({variable!r}, ''), or use @secrets.",
            )


def _is_variable(name: object, value: str) -> bool:
    if not isinstance(name, str) or not name or "=" in name:
        return False
    return fits_environment(name + value)


def _pauses(node: Node) -> Iterator[Diagnostic]:
    """Refuse a pause between retries that Dagster cannot wait for."""
    for decorator in node.decorators:
        minutes = (
            decorator.attributes["minutes_between_retries"] if decorator.name == "retry" else 0
        )
        try:
            is_known = 0 <= int(minutes) <= _LONGEST_PAUSE
        except (TypeError, ValueError, OverflowError):
            is_known = False
        if not is_known:
            yield _of_step(
                node,
                f"@retry has {short(minutes)} minutes_between_retries.",
                f"Write a whole number from 0 to {_LONGEST_PAUSE}.",
            )


def _unwritable(node: Node) -> Iterator[Diagnostic]:
    """Decorators that the source does not hold, and that no command line can name."""
    for decorator in _added(node):
        try:
            decorator.make_decorator_spec()
        except STUMBLES as error:
            yield _of_step(
                node,
                f"The attributes of {_name(decorator)}, which is not written in the flow, cannot "
                f"be given to a step as JSON ({type(error).__name__}: {error}).",
                "Write the decorator in the flow, or let its attributes be texts and numbers.",
            )


def _name(decorator: StepDecorator | UserStepDecorator) -> str:
    return f"@{getattr(decorator, 'name', None) or getattr(decorator, 'decorator_name', '')}"


def _of_step(node: Node, message: str, hint: str) -> Diagnostic:
    return Diagnostic(message, hint, node.name, Location(node.source_file, node.func_lineno))


def read_retries(node: Node) -> Retries:
    """The most that any decorator asks for, as in `metaflow/runtime.py: Task.__init__`.

    A decorator that answers (None, None) forbids retries altogether. The datastore holds no more
    than `MAX_ATTEMPTS` of a task.
    """
    counts = [decorator.step_task_retry_count() for decorator in node.decorators]
    if any(user is None or error is None for user, error in counts):
        return Retries()
    user_code = max((user or 0 for user, _ in counts), default=0)
    error = max((error or 0 for _, error in counts), default=0)
    return Retries(
        user_code=user_code,
        error=min(error, MAX_ATTEMPTS - 1 - user_code),
        minutes_between=max(
            (
                int(decorator.attributes["minutes_between_retries"])
                for decorator in node.decorators
                if decorator.name == "retry"
            ),
            default=0,
        ),
    )


def read_timeout(node: Node) -> int | None:
    """The seconds that `@timeout` gives to a step."""
    seconds = [
        decorator.secs for decorator in node.decorators if isinstance(decorator, TimeoutDecorator)
    ]
    return seconds[-1] if seconds else None


def read_environment(node: Node) -> tuple[tuple[str, str], ...]:
    """The variables of `@environment`, which have to be set before the step's process starts."""
    return tuple(
        (variable, value)
        for decorator, variable, value in _variables(node)
        if not _is_passed_on(decorator, variable, value)
    )


def read_inherited(node: Node) -> tuple[str, ...]:
    """The credentials that `@environment` only passes on."""
    return tuple(
        variable
        for decorator, variable, value in _variables(node)
        if _is_passed_on(decorator, variable, value)
    )


def _variables(node: Node) -> Iterator[tuple[StepDecorator, str, str]]:
    for decorator in node.decorators:
        if decorator.name == "environment":
            for variable, value in sorted(decorator.attributes["vars"].items()):
                yield decorator, str(variable), str(value)


def _is_passed_on(decorator: StepDecorator, variable: str, value: str) -> bool:
    """Whether a credential is what this process has of that name, as of `os.getenv` in the flow.

    What a command gives by `--with` stands in the file as it was given.
    """
    if not is_secret_variable(variable, value):
        return False
    if not decorator.statically_defined and decorator.inserted_by is None:
        return False
    held = os.environ.get(variable)
    return value in _OF_NO_VARIABLE if held is None else value == held


def read_decospecs(node: Node) -> tuple[str, ...]:
    """Decorators the source does not hold, as `metaflow/runtime.py: CLIArgs` passes them on."""
    return tuple(decorator.make_decorator_spec() for decorator in _added(node))


def _added(node: Node) -> Iterator[StepDecorator | UserStepDecorator]:
    decorators: Iterable[StepDecorator | UserStepDecorator]
    decorators = chain(node.decorators, node.wrappers, node.config_decorators)
    return (
        decorator
        for decorator in decorators
        if not decorator.statically_defined and decorator.inserted_by is None
    )
