"""Steps and transitions out of Metaflow's graph."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.frontend.decorators import decorated_step
from metaflow_dagster.frontend.protocols import FlowObject, Graph, Node
from metaflow_dagster.frontend.texts import without_surrogates
from metaflow_dagster.ir.flow import (
    End,
    Foreach,
    Linear,
    Location,
    Parallel,
    Split,
    Step,
    Switch,
    Transition,
)


def read_steps(flow: FlowObject, graph: Graph) -> Iterator[Step]:
    """The steps in Metaflow's topological order (`FlowGraph.sorted_nodes`)."""
    nodes = [graph[name] for name in graph.sorted_nodes]
    parents = _parents(nodes)
    for node in nodes:
        step = Step(
            name=node.name,
            transition=_transition(node),
            parents=tuple(parents[node.name]),
            location=location(node),
            joins=node.split_parents[-1] if node.type == "join" else None,
            description=without_surrogates(node.doc.strip()),
            class_name=_class_name(flow, node),
        )
        yield decorated_step(node, step)


def _parents(nodes: Iterable[Node]) -> Mapping[str, Iterable[str]]:
    """The parents of each step, in the order of the nodes; a step is not its own parent."""
    parents: dict[str, dict[str, None]] = defaultdict(dict)
    for node in nodes:
        for target in node.out_funcs:
            if target != node.name:
                parents[target][node.name] = None
    return parents


def location(node: Node) -> Location:
    """Where the step is defined."""
    return Location(os.path.abspath(node.source_file), node.func_lineno)


def _class_name(flow: FlowObject, node: Node) -> str:
    """The class in which the step is defined, which the flow may have inherited."""
    return str(getattr(flow, node.name).__qualname__).rpartition(".")[0]


def _transition(node: Node) -> Transition:
    match node.type:
        case "end":
            return End()
        case "start" | "linear" | "join":
            return Linear(node.out_funcs[0])
        case "split":
            return Split(tuple(node.out_funcs))
        case "foreach" if node.parallel_foreach:
            return Parallel(node.out_funcs[0])
        case "foreach":
            return Foreach(node.out_funcs[0], str(node.foreach_param))
        case "split-switch":
            return Switch(tuple(node.out_funcs), str(node.condition))
        case unknown:
            raise InternalError(f"Step {node.name} is of a type unknown to us, {unknown!r}.")
