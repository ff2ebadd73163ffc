"""How a decorator is handled, as the value that its module has under the name HANDLING."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.protocols import FlowObject, Node, StepDecorator
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Flow, Location, Step


def _nothing_to_check(_: Any) -> Iterator[Diagnostic]:
    return iter(())


def _step_as_it_is(_: Node, step: Step) -> Step:
    return step


def _flow_as_it_is(_: FlowObject, flow: Flow) -> Flow:
    return flow


@dataclass(frozen=True)
class StepHandling:
    """
    How a decorator of steps is handled.

    name : the decorator's
    tell : how it is handled, in words for the report of `create`; the step has the decorator
    check : what of a step's decorator of that name does not work with Dagster
    read : the step with what the decorator means for it
    hooks_replaced : Metaflow's class for it if its hooks, by which decorators take part in how a
        task's process is started, need not be called, since the job does what they do
    """

    name: str
    tell: Callable[[Step], str]
    check: Callable[[Node], Iterator[Diagnostic]] = _nothing_to_check
    read: Callable[[Node, Step], Step] = _step_as_it_is
    hooks_replaced: type | None = None


@dataclass(frozen=True)
class FlowHandling:
    """
    How a decorator of flows is handled.

    name : the decorator's, with `*` for several
    told : how it is handled, in words for the report of `create`
    check : what of a flow's decorator of that name does not work with Dagster
    read : the flow with what the decorator means for it
    """

    name: str
    told: str = "Metaflow's"
    check: Callable[[FlowObject], Iterator[Diagnostic]] = _nothing_to_check
    read: Callable[[FlowObject, Flow], Flow] = _flow_as_it_is


def decorators_named(name: str, node: Node) -> list[StepDecorator]:
    """The decorators of that name that a step has."""
    return [decorator for decorator in node.decorators if decorator.name == name]


def flow_decorator(name: str, flow: FlowObject) -> Any:
    """The first decorator of that name that a flow has; None if it has none."""
    return next(iter(MetaflowFlow.decorators(flow).get(name, ())), None)


def at_step(node: Node, message: str, hint: str) -> Diagnostic:
    """A diagnostic about a step."""
    return Diagnostic(message, hint, node.name, Location(node.source_file, node.func_lineno))


def unsupported(name: str, hint: str) -> Diagnostic:
    """A diagnostic about a decorator of a flow whose effect would be lost."""
    return Diagnostic(f"@{name} is not supported yet.", hint)
