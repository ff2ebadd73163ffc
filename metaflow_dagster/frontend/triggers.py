"""The parts that `@trigger` and `@trigger_on_finish` have in common.

They are read as Metaflow's Argo deployer does (metaflow/plugins/argo/argo_workflows.py:
`_process_triggers`). The decorators' names and defaults are known only at compile time, where
functions in them are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.frontend.cron import check_times, dagster_cron
from metaflow_dagster.frontend.decorators.handling import flow_decorator
from metaflow_dagster.frontend.protocols import FlowObject, TriggerDecorator
from metaflow_dagster.ir.flow import Schedule

_RESET_AT = "reset_at"


def trigger_decorator(name: str, flow: FlowObject) -> TriggerDecorator:
    """The decorator of a flow that has it, after its functions have been called."""
    decorator = cast(TriggerDecorator, flow_decorator(name, flow))
    try:
        decorator.format_deploytime_value()
    except TypeError as error:  # over what a function in it has returned
        raise CompileError(
            [
                Diagnostic(
                    f"Metaflow cannot read @{name}: {error}.", "Let its functions return text."
                )
            ]
        ) from error
    return decorator


def check_reset(name: str, decorator: TriggerDecorator) -> Iterator[Diagnostic]:
    """Check when a trigger is to forget the events that have happened."""
    if not isinstance(decorator.options or {}, Mapping):
        yield Diagnostic(
            f"The options of @{name} are no dictionary.", "Write {} or leave them out."
        )
        return
    given = _given_reset(decorator)
    if given is None:
        return
    if not isinstance(given, Mapping) or not given.get("cron"):
        yield Diagnostic(
            f"The option {_RESET_AT} of @{name} names no times.",
            'Write it as {"reset_at": {"cron": "0 0 * * *", "timezone": "Europe/Berlin"}}.',
        )
        return
    yield from check_times(f"{_RESET_AT} of @{name}", given["cron"], given.get("timezone"))


def _given_reset(decorator: TriggerDecorator) -> Any:
    return (decorator.options or {}).get(_RESET_AT)


def reset_at(decorator: TriggerDecorator) -> Schedule | None:
    """The times when a trigger is to forget the events that have happened."""
    given = _given_reset(decorator)
    return Schedule(dagster_cron(given["cron"]), given.get("timezone")) if given else None
