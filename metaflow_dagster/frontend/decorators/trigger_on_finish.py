"""`@trigger_on_finish`, which becomes a sensor of Dagster's for the ends of other flows' runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.handling import FlowHandling
from metaflow_dagster.frontend.decorators.project import flow_project
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.frontend.triggers import (
    check_reset,
    reset_at,
    trigger_decorator,
)
from metaflow_dagster.ir.flow import Event, Flow, Project, Trigger, TriggerKind, end_event


def check(flow: FlowObject) -> Iterator[Diagnostic]:
    """Check the flows that are waited for, and that a run can go without parameters."""
    decorator = trigger_decorator("trigger_on_finish", flow)
    yield from check_reset("trigger_on_finish", decorator)
    for trigger in decorator.triggers:
        project, branch = _project_and_branch(trigger, flow)
        if bool(project) != bool(branch):
            yield Diagnostic(
                f"@trigger_on_finish names flow {trigger['flow']} with a project or a branch only.",
                "Name both project and project_branch, or put this flow into a @project.",
            )


def read(flow_object: FlowObject, flow: Flow) -> Flow:
    """The flow with a trigger by the ends of those."""
    decorator = trigger_decorator("trigger_on_finish", flow_object)
    ends = tuple(_ends(flow_object, decorator.triggers))
    trigger = Trigger(TriggerKind.RUN, ends, reset_at(decorator))
    return replace(flow, triggers=(*flow.triggers, trigger))


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


HANDLING = FlowHandling("trigger_on_finish", told="a sensor of Dagster's", check=check, read=read)
