"""The requests that any decorator of a step may make: retries, a part in the start of a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from metaflow.decorators import StepDecorator as MetaflowStepDecorator
from metaflow.metaflow_config import MAX_ATTEMPTS

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.handling import at_step
from metaflow_dagster.frontend.protocols import Node, StepDecorator, UserStepDecorator
from metaflow_dagster.frontend.session import STUMBLES
from metaflow_dagster.ir.flow import Retries, Step

# The methods of a step's decorators that `metaflow/runtime.py: NativeRuntime` calls.
_RUNTIME_HOOKS = ("runtime_init", "runtime_task_created", "runtime_step_cli", "runtime_finished")


def check_specs(node: Node) -> Iterator[Diagnostic]:
    """Decorators that the source does not hold, and that no command line can name."""
    for decorator in _undeclared(node):
        try:
            decorator.make_decorator_spec()
        except STUMBLES as error:
            yield at_step(
                node,
                f"The attributes of {_name(decorator)}, which is not written in the flow, cannot "
                f"be given to a step as JSON ({type(error).__name__}: {error}).",
                "Write the decorator in the flow, or let its attributes be texts and numbers.",
            )


def read_common(node: Node, step: Step, hooks_replaced: tuple[type, ...]) -> Step:
    """A step with its decorators by name, and with what any of them may ask for.

    Decorators of the classes in `hooks_replaced` have no hooks that need be called.
    """
    hooked = (deco for deco in node.decorators if is_hooked(deco, hooks_replaced))
    return replace(
        step,
        retries=_retries(node),
        decorators=tuple(decorator.make_decorator_spec() for decorator in _undeclared(node)),
        hooks=tuple(decorator.name for decorator in hooked),
        applied=_names(node),
    )


def is_hooked(decorator: StepDecorator, hooks_replaced: tuple[type, ...]) -> bool:
    """Whether a decorator overrides one of the hooks that Metaflow's runtime calls."""
    kind: Any = type(decorator)
    if kind in hooks_replaced or not issubclass(kind, MetaflowStepDecorator):
        return False
    return any(
        getattr(kind, hook) is not getattr(MetaflowStepDecorator, hook)
        or getattr(kind, f"{hook}_ctx", None) is not None
        for hook in _RUNTIME_HOOKS
    )


def _retries(node: Node) -> Retries:
    """The most that any decorator asks for, as in `metaflow/runtime.py: Task.__init__`.

    A decorator that answers (None, None) forbids retries altogether. The datastore holds no more
    than `MAX_ATTEMPTS` of a task.
    """
    counts = [decorator.step_task_retry_count() for decorator in node.decorators]
    if any(user is None or error is None for user, error in counts):
        return Retries()
    user_code = max((user or 0 for user, _ in counts), default=0)
    error = max((error or 0 for _, error in counts), default=0)
    return Retries(user_code, error=min(error, MAX_ATTEMPTS - 1 - user_code))


def _names(node: Node) -> tuple[str, ...]:
    """The names of the decorators of a step, the user's own and step mutators included."""
    own = (decorator.decorator_name for decorator in chain(node.wrappers, node.config_decorators))
    return (
        *(name.rpartition(".")[2] for name in own),  # without their module
        *(decorator.name for decorator in node.decorators),
    )


def _name(decorator: StepDecorator | UserStepDecorator) -> str:
    return f"@{getattr(decorator, 'name', None) or getattr(decorator, 'decorator_name', '')}"


def _undeclared(node: Node) -> Iterator[StepDecorator | UserStepDecorator]:
    """The decorators that the source does not hold (`metaflow/runtime.py: CLIArgs`)."""
    decorators: Iterable[StepDecorator | UserStepDecorator]
    decorators = chain(node.decorators, node.wrappers, node.config_decorators)
    return (
        decorator
        for decorator in decorators
        if not decorator.statically_defined and decorator.inserted_by is None
    )
