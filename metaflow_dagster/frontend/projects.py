"""The project of a flow (`@project`), as the session that has been made for the flow knows it."""

from __future__ import annotations

from metaflow import current

from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Project


def flow_project(flow: FlowObject) -> Project | None:
    """The project and branch of the flow, if it has any."""
    if "project" in MetaflowFlow.decorators(flow):
        return Project(current.project_name, current.branch_name)
    return None
