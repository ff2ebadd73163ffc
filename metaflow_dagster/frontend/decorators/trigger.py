"""`@trigger`, which becomes a sensor of Dagster's for events that somebody publishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.events import check_event_name
from metaflow_dagster.frontend.decorators.handling import FlowHandling
from metaflow_dagster.frontend.parameters import parameter_kinds
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.frontend.triggers import (
    check_reset,
    reset_at,
    trigger_decorator,
)
from metaflow_dagster.ir.flow import Event, Flow, Trigger, TriggerKind


def check(flow: FlowObject) -> Iterator[Diagnostic]:
    """Check the events, and the parameters that their payloads have to give."""
    decorator = trigger_decorator("trigger", flow)
    yield from check_reset("trigger", decorator)
    yield from _check_names([trigger["name"] for trigger in decorator.triggers])
    events = list(_events(flow, decorator.triggers))
    yield from _check_mapping(flow, events)


def read(flow_object: FlowObject, flow: Flow) -> Flow:
    """The flow with a trigger by these events."""
    decorator = trigger_decorator("trigger", flow_object)
    events = tuple(_events(flow_object, decorator.triggers))
    trigger = Trigger(TriggerKind.EVENT, events, reset_at(decorator))
    return replace(flow, triggers=(*flow.triggers, trigger))


def _check_names(names: Sequence[object]) -> Iterator[Diagnostic]:
    for name in names:
        try:
            check_event_name(name)
        except ValueError as error:
            yield Diagnostic(f"@trigger: {error}", "Rename the event, also where it is published.")
    if len(set(map(str, names))) < len(names):
        yield Diagnostic("@trigger names an event twice.", "Name each event once.")


def _check_mapping(flow: FlowObject, events: Iterable[Event]) -> Iterator[Diagnostic]:
    known = parameter_kinds(flow)
    mapped = [(event.name, parameter) for event in events for parameter, _ in event.parameters]
    times = Counter(parameter for _, parameter in mapped)
    for event, parameter in mapped:
        if parameter not in known:
            yield Diagnostic(
                f"@trigger: event {event} is to give a value to {parameter}, which is no parameter "
                "of the flow.",
                f"Take one of the flow's parameters: {', '.join(known) or 'it has none'}.",
            )
    for parameter in (name for name, count in times.items() if count > 1):
        yield Diagnostic(
            f"@trigger: several events are to give a value to parameter {parameter}.",
            "Let one of them do so.",
        )


def _events(flow: FlowObject, triggers: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """The events with the names of parameters as the flow has them; Metaflow ignores their case.

    An event that is alone and names no parameters may give a value to each.
    """
    names = {name.lower(): name for name in parameter_kinds(flow)}
    several = list(triggers)
    for trigger in several:
        mapping = trigger.get("parameters") or {}
        if not mapping and len(several) == 1:
            mapping = {name: name for name in names}
        pairs = ((names.get(key.lower(), key), field) for key, field in mapping.items())
        yield Event(str(trigger["name"]), tuple(pairs))


HANDLING = FlowHandling("trigger", told="a sensor of Dagster's", check=check, read=read)
