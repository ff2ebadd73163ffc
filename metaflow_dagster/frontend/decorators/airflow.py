"""The sensors of Airflow (`@airflow_…`), whose effect would be lost."""

from __future__ import annotations

from collections.abc import Iterator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.handling import FlowHandling, unsupported
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.internals.metaflow import MetaflowFlow


def check(flow: FlowObject) -> Iterator[Diagnostic]:
    """Refuse them."""
    for name in MetaflowFlow.decorators(flow):
        if name.startswith("airflow_"):
            yield unsupported(name, "Use a Dagster sensor, or take it off.")


HANDLING = FlowHandling("airflow_*", check=check)
