"""The decorators that start runs: `@schedule`, `@trigger` and `@trigger_on_finish`.

They are read as Metaflow's Argo deployer does (metaflow/plugins/argo/argo_workflows.py:
`_get_schedule`, `_process_triggers`). The decorators' names and defaults are known only at compile
time, where functions in them are called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.events import check_event_name
from metaflow_dagster.frontend.cron import UnsupportedCron, check_timezone, dagster_cron
from metaflow_dagster.frontend.parameters import parameter_kinds, required_parameters
from metaflow_dagster.frontend.projects import flow_project
from metaflow_dagster.frontend.protocols import FlowObject, ScheduleDecorator, TriggerDecorator
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Event, Project, Schedule, Trigger, TriggerKind, end_event

_RESET_AT = "reset_at"


def check_automation(flow: FlowObject) -> Iterator[Diagnostic]:
    """Check the decorators that start runs."""
    yield from _check_schedule(flow)
    for name in ("trigger", "trigger_on_finish"):
        decorator = _trigger_decorator(flow, name)
        if decorator is not None:
            yield from _check_reset(name, decorator)
    yield from _check_events(flow)
    yield from _check_upstream_flows(flow)


def read_schedule(flow: FlowObject) -> Schedule | None:
    """The times of `@schedule`, if it names any."""
    decorator = _schedule_decorator(flow)
    if decorator is None or decorator.schedule is None:
        return None
    return Schedule(dagster_cron(decorator.schedule), decorator.timezone)


def read_triggers(flow: FlowObject) -> Iterator[Trigger]:
    """The triggers by `@trigger` and `@trigger_on_finish`; either is enough to start a run."""
    if (decorator := _trigger_decorator(flow, "trigger")) is not None:
        events = tuple(_events(flow, decorator.triggers))
        yield Trigger(TriggerKind.EVENT, events, _reset_at(decorator))
    if (decorator := _trigger_decorator(flow, "trigger_on_finish")) is not None:
        ends = tuple(_ends(flow, decorator.triggers))
        yield Trigger(TriggerKind.RUN, ends, _reset_at(decorator))


def _schedule_decorator(flow: FlowObject) -> ScheduleDecorator | None:
    decorators = MetaflowFlow.decorators(flow).get("schedule")
    return cast(ScheduleDecorator, decorators[0]) if decorators else None


def _trigger_decorator(flow: FlowObject, name: str) -> TriggerDecorator | None:
    """The decorator, after its functions have been called."""
    decorators = MetaflowFlow.decorators(flow).get(name)
    if not decorators:
        return None
    decorator = cast(TriggerDecorator, decorators[0])
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


def _check_schedule(flow: FlowObject) -> Iterator[Diagnostic]:
    decorator = _schedule_decorator(flow)
    if decorator is None or decorator.schedule is None:
        return
    yield from _check_times("@schedule", decorator.schedule, decorator.timezone)
    for parameter in required_parameters(flow):
        yield Diagnostic(
            f"@schedule starts runs without parameters, and {parameter} is required.",
            f"Give {parameter} a default, or take @schedule off.",
        )


def _check_times(whose: str, cron: object, timezone: object) -> Iterator[Diagnostic]:
    """Refuse a cron expression or a time zone that Dagster does not support."""
    try:
        dagster_cron(str(cron))
        if timezone is not None:
            check_timezone(str(timezone))
    except UnsupportedCron as error:
        yield Diagnostic(f"{whose}: {error.message}", error.hint)


def _check_reset(name: str, decorator: TriggerDecorator) -> Iterator[Diagnostic]:
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
    yield from _check_times(f"{_RESET_AT} of @{name}", given["cron"], given.get("timezone"))


def _given_reset(decorator: TriggerDecorator) -> Any:
    return (decorator.options or {}).get(_RESET_AT)


def _reset_at(decorator: TriggerDecorator) -> Schedule | None:
    given = _given_reset(decorator)
    return Schedule(dagster_cron(given["cron"]), given.get("timezone")) if given else None


def _check_events(flow: FlowObject) -> Iterator[Diagnostic]:
    """Check the events of `@trigger`, and the parameters that their payloads have to give."""
    decorator = _trigger_decorator(flow, "trigger")
    if decorator is None:
        return
    yield from _check_names([trigger["name"] for trigger in decorator.triggers])
    events = list(_events(flow, decorator.triggers))
    yield from _check_mapping(flow, events)
    yield from _check_required(flow, "trigger", events)


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
    given = [(event.name, parameter) for event in events for parameter, _ in event.parameters]
    times = Counter(parameter for _, parameter in given)
    for event, parameter in given:
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


def _check_required(
    flow: FlowObject, decorator: str, events: Iterable[Event]
) -> Iterator[Diagnostic]:
    given = {parameter for event in events for parameter, _ in event.parameters}
    for parameter in required_parameters(flow):
        if parameter not in given:
            yield Diagnostic(
                f"@{decorator} gives no value to parameter {parameter}, which is required.",
                f"Give {parameter} a default, or let an event of @trigger give it a value.",
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


def _check_upstream_flows(flow: FlowObject) -> Iterator[Diagnostic]:
    decorator = _trigger_decorator(flow, "trigger_on_finish")
    if decorator is None:
        return
    for trigger in decorator.triggers:
        project, branch = _project_and_branch(trigger, flow)
        if bool(project) != bool(branch):
            yield Diagnostic(
                f"@trigger_on_finish names flow {trigger['flow']} with a project or a branch only.",
                "Name both project and project_branch, or put this flow into a @project.",
            )
    yield from _check_required(flow, "trigger_on_finish", ())


def _ends(flow: FlowObject, triggers: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """The ends of the flows that are waited for, each once."""
    for name in dict.fromkeys(_end_of(trigger, flow) for trigger in triggers):
        yield Event(name)


def _end_of(trigger: Mapping[str, Any], flow: FlowObject) -> str:
    project, branch = _project_and_branch(trigger, flow)
    return end_event(trigger["flow"], Project(project, branch) if project and branch else None)


def _project_and_branch(
    trigger: Mapping[str, Any], flow: FlowObject
) -> tuple[str | None, str | None]:
    """Those of a flow that is waited for, by default those of the flow that waits."""
    own = flow_project(flow)
    return (
        trigger.get("project") or (own.name if own else None),
        trigger.get("branch") or (own.branch if own else None),
    )
