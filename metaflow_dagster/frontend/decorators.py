"""What decorators of steps and flows mean for the job, and which cannot be honoured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from metaflow.decorators import StepDecorator as MetaflowStepDecorator
from metaflow.plugins.environment_decorator import EnvironmentDecorator
from metaflow.plugins.parallel_decorator import ParallelDecorator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import is_secret_variable
from metaflow_dagster.frontend.protocols import FlowObject, Graph, Node, StepDecorator
from metaflow_dagster.ir import Location, Retries

# Flow decorators whose effect would be lost: what they ask for is the orchestrator's to do.
_UNSUPPORTED_OF_FLOW = {
    "schedule": "Add a ScheduleDefinition for the job, or take @schedule off.",
    "trigger": "Add a sensor for the job, or take @trigger off.",
    "trigger_on_finish": "Add a sensor for the job, or take @trigger_on_finish off.",
    "exit_hook": "Use a Dagster hook or run status sensor, or take @exit_hook off.",
    "conda_base": "Install the packages where Dagster runs, or take @conda_base off.",
    "pypi_base": "Install the packages where Dagster runs, or take @pypi_base off.",
}


def check_decorators(flow: FlowObject, graph: Graph) -> Iterator[Diagnostic]:
    """Decorators whose effect the generated job would not have."""
    for name in flow._flow_decorators:
        if name in _UNSUPPORTED_OF_FLOW or name.startswith("airflow_"):
            hint = _UNSUPPORTED_OF_FLOW.get(name, "Use a Dagster sensor, or take it off.")
            yield Diagnostic(f"@{name} is not supported yet.", hint)
    for name in graph.sorted_nodes:
        node = graph[name]
        for decorator in node.decorators:
            if _changes_command(decorator):
                yield _of_step(
                    node,
                    f"@{decorator.name} changes how the step is run, which is not supported yet.",
                    f"Take @{decorator.name} off the step, or run the flow with Metaflow.",
                )
        yield from _credentials(node)


def _changes_command(decorator: StepDecorator) -> bool:
    """Whether Metaflow's runtime would run another command than `step` for it.

    Such decorators override `runtime_step_cli`; `@environment` only sets variables, which we set
    ourselves, and `@parallel` is a matter of the graph.
    """
    kind: Any = type(decorator)
    if kind in (EnvironmentDecorator, ParallelDecorator) or not isinstance(
        decorator, MetaflowStepDecorator
    ):
        return False
    return (
        kind.runtime_step_cli is not MetaflowStepDecorator.runtime_step_cli
        or getattr(kind, "runtime_step_cli_ctx", None) is not None
    )


def _credentials(node: Node) -> Iterator[Diagnostic]:
    for variable, value in read_environment(node):
        if is_secret_variable(variable, value):
            yield _of_step(
                node,
                f"@environment sets {variable}, which looks like a credential; its value would "
                "stand in the generated file.",
                "Set it in the environment where Dagster runs the steps, or use @secrets.",
            )


def _of_step(node: Node, message: str, hint: str) -> Diagnostic:
    return Diagnostic(message, hint, node.name, Location(node.source_file, node.func_lineno))


def read_retries(node: Node) -> Retries:
    """The most that any decorator asks for, as in `metaflow/runtime.py: Task.__init__`.

    A decorator that answers (None, None) forbids retries altogether.
    """
    counts = [decorator.step_task_retry_count() for decorator in node.decorators]
    if any(user is None or error is None for user, error in counts):
        return Retries()
    return Retries(
        user_code=max((user or 0 for user, _ in counts), default=0),
        error=max((error or 0 for _, error in counts), default=0),
        minutes_between=max(
            (
                int(decorator.attributes["minutes_between_retries"])
                for decorator in node.decorators
                if decorator.name == "retry"
            ),
            default=0,
        ),
    )


def read_environment(node: Node) -> tuple[tuple[str, str], ...]:
    """The variables of `@environment`, which have to be set before the step's process starts."""
    return tuple(
        (str(variable), str(value))
        for decorator in node.decorators
        if decorator.name == "environment"
        for variable, value in sorted(decorator.attributes["vars"].items())
    )


def read_decospecs(node: Node) -> tuple[str, ...]:
    """Decorators the source does not hold, as `metaflow/runtime.py: CLIArgs` passes them on."""
    return tuple(
        decorator.make_decorator_spec()
        for decorator in chain(node.decorators, node.wrappers, node.config_decorators)
        if not decorator.statically_defined and decorator.inserted_by is None
    )
