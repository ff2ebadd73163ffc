"""The decorators. Each that the job has to know has a module of its own here.

Such a module has a `HANDLING`: a `StepHandling` or `FlowHandling`, which checks, reads and tells of
the decorator. All others have their effect in the step, or through their hooks (`common.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.common import check_specs, read_common
from metaflow_dagster.frontend.decorators.handling import FlowHandling, StepHandling
from metaflow_dagster.frontend.protocols import FlowObject, Graph, Node
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Flow, Step

_OTHER_OF_STEPS = StepHandling("*", tell=lambda _: "applied in the step")
_OTHER_OF_FLOWS = FlowHandling("*")


@cache
def handlings() -> tuple[StepHandling | FlowHandling, ...]:
    """How the decorators are handled that have a module here, by the order of their modules."""
    modules = (import_module(f"{__name__}.{place.name}") for place in iter_modules(__path__))
    return tuple(module.HANDLING for module in modules if hasattr(module, "HANDLING"))


def handling_of_step(name: str) -> StepHandling:
    """How the decorator of steps with that name is handled."""
    known = (each for each in handlings() if isinstance(each, StepHandling) and each.name == name)
    return next(known, _OTHER_OF_STEPS)


def handling_of_flow(name: str) -> FlowHandling:
    """How the decorator of flows with that name is handled."""
    of_flows = (each for each in handlings() if isinstance(each, FlowHandling))
    known = (handling for handling in of_flows if fnmatchcase(name, handling.name))
    return next(known, _OTHER_OF_FLOWS)


def check_decorators(flow: FlowObject, graph: Graph) -> Iterator[Diagnostic]:
    """Decorators whose effect the generated job would not have."""
    for handling in _of_flow(flow):
        yield from handling.check(flow)
    for name in graph.sorted_nodes:
        node = graph[name]
        for of_step in _of_step(node):
            yield from of_step.check(node)
        yield from check_specs(node)


def decorated_step(node: Node, step: Step) -> Step:
    """A step with what its decorators mean for it."""
    replaced = tuple(each.hooks_replaced for each in _of_step(node) if each.hooks_replaced)
    step = read_common(node, step, replaced)
    for handling in _of_step(node):
        step = handling.read(node, step)
    return step


def decorated_flow(flow_object: FlowObject, flow: Flow) -> Flow:
    """A flow with what its own decorators mean for it."""
    for handling in _of_flow(flow_object):
        flow = handling.read(flow_object, flow)
    return flow


def told_of_step(name: str, step: Step) -> str:
    """How a decorator of a step is handled, in words."""
    if name in step.hooks:
        return "starts the step in its own way, through Metaflow's hooks"
    return handling_of_step(name).tell(step)


def _of_step(node: Node) -> list[StepHandling]:
    """How the decorators of a step are handled, in an order that is always the same."""
    names = dict.fromkeys(decorator.name for decorator in node.decorators)
    return sorted(map(handling_of_step, names), key=lambda handling: handling.name)


def _of_flow(flow: FlowObject) -> list[FlowHandling]:
    """How the decorators of a flow are handled, in an order that is always the same."""
    names = (name for name, given in MetaflowFlow.decorators(flow).items() if given)
    handled = dict.fromkeys(map(handling_of_flow, names))
    return sorted(handled, key=lambda handling: handling.name)
