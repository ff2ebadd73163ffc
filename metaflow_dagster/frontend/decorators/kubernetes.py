"""`@kubernetes`: the pod of the op, where ops have pods of their own, or one that Metaflow starts.

Which of them it is, the planner decides by the executor (`planner/pods.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metaflow.metaflow_config import KUBERNETES_NAMESPACE

from metaflow_dagster.frontend.decorators.handling import StepHandling, decorators_named
from metaflow_dagster.frontend.pods import Attributes, checked_pod, literal_pairs, pod_of
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.ir.flow import Pod, Step

# The attributes that only pods have which Metaflow starts.
_ONLY_METAFLOW = ("executable", "extended_resources", "port", "security_context", "tmpfs_size")


def read(node: Node, step: Step) -> Step:
    """The step with the pod it asks for."""
    attributes = decorators_named("kubernetes", node)[-1].attributes
    pod = checked_pod("kubernetes", attributes, _pod)
    if node.parallel_step and not pod.faults:
        pod = replace(pod, beyond_dagster=(*pod.beyond_dagster, "@parallel"))
    return replace(step, pod=replace(pod, by_kubernetes=True))


def _pod(attributes: Attributes) -> Pod:
    labels = [(name, attributes[name]) for name in ("labels", "annotations") if attributes[name]]
    return replace(
        pod_of(attributes),
        metadata=literal_pairs(labels),
        beyond_dagster=tuple(_beyond_dagster(attributes)),
    )


def _beyond_dagster(attributes: Attributes) -> Iterator[str]:
    """The names of what is asked for that Dagster's pods do not support."""
    yield from (name for name in _ONLY_METAFLOW if attributes.get(name))
    if attributes["namespace"] != KUBERNETES_NAMESPACE:
        yield "namespace"


def tell(step: Step) -> str:
    """How it is handled, in words."""
    return "asked for as the pod of the op" if step.pod else "applied in the step"


HANDLING = StepHandling("kubernetes", tell=tell, read=read)
