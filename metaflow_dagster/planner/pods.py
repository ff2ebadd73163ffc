"""Where steps run: in the pod of their op, or where their decorators send them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.ir.flow import Flow, Step

_KUBERNETES = "kubernetes"


def without_pods(flow: Flow) -> Flow:
    """The flow for an executor whose ops have no pods: `@kubernetes` starts them itself."""
    return replace(flow, steps=tuple(replace(step, pod=None) for step in flow.steps))


def in_pods(flow: Flow) -> Flow:
    """The flow for an executor each of whose ops has a pod, which is what `@kubernetes` asks for.

    So there is no other one for the decorator to start.
    """
    return replace(flow, steps=tuple(map(_in_pod, flow.steps)))


def _in_pod(step: Step) -> Step:
    return replace(step, hooks=tuple(hook for hook in step.hooks if hook != _KUBERNETES))


def check_pods(flow: Flow) -> Iterator[Diagnostic]:
    """Refuse steps that ask for more than the pods of ops can give them."""
    for step in flow.steps:
        if step.pod is None:
            continue
        for fault in step.pod.faults:
            yield _refused(step, fault)
        if not step.pod.by_kubernetes:
            continue
        for asked in step.pod.beyond_dagster:
            yield _refused(step, f"@kubernetes with {asked} cannot be had in the pod of an op.")
        for other in step.hooks:
            if other != _KUBERNETES:
                yield _refused(
                    step, f"@kubernetes with @{other} cannot be had in the pod of an op."
                )


def _refused(step: Step, message: str) -> Diagnostic:
    hint = (
        "Fix it, or leave pods to Metaflow, which starts them from the ops of any other "
        "executor, such as --executor threads."
    )
    return Diagnostic(message, hint, step.name, step.location)
