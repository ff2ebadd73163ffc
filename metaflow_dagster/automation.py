"""What starts runs by itself has to give them the parameters that they need."""

from __future__ import annotations

from collections.abc import Iterator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.ir.flow import Flow, Required, Trigger, TriggerKind

_DECORATORS = {TriggerKind.EVENT: "trigger", TriggerKind.RUN: "trigger_on_finish"}


def check_automation(flow: Flow) -> Iterator[Diagnostic]:
    """Refuse schedules and triggers whose runs would lack a parameter.

    Those that are keys of partitions are not lacking.
    """
    required = [each.name for each in flow.config_parameters if isinstance(each.default, Required)]
    for parameter in required if flow.schedule else ():
        yield Diagnostic(
            f"@schedule starts runs without parameters, and {parameter} is required.",
            f"Give {parameter} a default, or take @schedule off.",
        )
    for trigger in flow.triggers:
        yield from _check_trigger(trigger, required)


def _check_trigger(trigger: Trigger, required: list[str]) -> Iterator[Diagnostic]:
    with_values = {parameter for event in trigger.events for parameter, _ in event.parameters}
    for parameter in required:
        if parameter not in with_values:
            yield Diagnostic(
                f"@{_DECORATORS[trigger.kind]} gives no value to parameter {parameter}, which is "
                "required.",
                f"Give {parameter} a default, or let an event of @trigger give it a value.",
            )
