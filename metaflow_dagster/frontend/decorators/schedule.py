"""`@schedule`, which becomes a schedule of Dagster's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.cron import check_times, dagster_cron
from metaflow_dagster.frontend.decorators.handling import FlowHandling, flow_decorator
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.ir.flow import Flow, Schedule


def check(flow: FlowObject) -> Iterator[Diagnostic]:
    """Refuse times that Dagster does not know."""
    decorator = flow_decorator("schedule", flow)
    if decorator.schedule is None:
        return
    yield from check_times("@schedule", decorator.schedule, decorator.timezone)


def read(flow_object: FlowObject, flow: Flow) -> Flow:
    """The flow with the times of the decorator, if it names any.

    They are read as by Metaflow's Argo deployer (metaflow/plugins/argo/argo_workflows.py:
    `_get_schedule`).
    """
    decorator = flow_decorator("schedule", flow_object)
    if decorator.schedule is None:
        return flow
    return replace(flow, schedule=Schedule(dagster_cron(decorator.schedule), decorator.timezone))


HANDLING = FlowHandling("schedule", told="a schedule of Dagster's", check=check, read=read)
