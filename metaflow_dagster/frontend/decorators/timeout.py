"""`@timeout`: the op stops a step that does not react to Metaflow's own alarm."""

from __future__ import annotations

from dataclasses import replace

from metaflow.plugins.timeout_decorator import TimeoutDecorator

from metaflow_dagster.frontend.decorators.handling import StepHandling
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.ir.flow import Step


def read(node: Node, step: Step) -> Step:
    """The step with the seconds that it is given."""
    seconds = [each.secs for each in node.decorators if isinstance(each, TimeoutDecorator)]
    return replace(step, timeout=seconds[-1]) if seconds else step


HANDLING = StepHandling(
    "timeout",
    tell=lambda _: "Metaflow's alarm in the step, and the op stops what does not react",
    read=read,
)
