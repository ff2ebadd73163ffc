"""`@project`: the project of a flow, as the session that has been made for the flow knows it."""

from __future__ import annotations

from dataclasses import replace

from metaflow import current

from metaflow_dagster.frontend.decorators.handling import FlowHandling, flow_decorator
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.ir.flow import Flow, Project


def flow_project(flow: FlowObject) -> Project | None:
    """The project and branch of the flow, if it has any."""
    if flow_decorator("project", flow) is None:
        return None
    return Project(current.project_name, current.branch_name)


def read(flow_object: FlowObject, flow: Flow) -> Flow:
    """The flow with its project."""
    return replace(flow, project=flow_project(flow_object))


HANDLING = FlowHandling(
    "project", told="in the name of the job, and in the tags of its runs", read=read
)
