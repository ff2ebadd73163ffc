"""`@resources`: what the op's own pod is to have, where ops have pods of their own."""

from __future__ import annotations

from dataclasses import replace

from metaflow_dagster.frontend.decorators.handling import StepHandling, decorators_named
from metaflow_dagster.frontend.pods import checked_pod, pod_of
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.ir.flow import Step


def read(node: Node, step: Step) -> Step:
    """The step with the pod it asks for, unless `@kubernetes` does, which has taken this over."""
    if decorators_named("kubernetes", node):
        return step
    attributes = decorators_named("resources", node)[-1].attributes
    return replace(step, pod=checked_pod("resources", attributes, pod_of))


def tell(step: Step) -> str:
    """How it is handled, in words."""
    if step.pod:
        return "asked for as the pod of the op"
    return "used by remote backends only; no effect here"


HANDLING = StepHandling("resources", tell=tell, read=read)
