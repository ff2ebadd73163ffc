"""Metaflow's own checks of a flow's graph, without those whose verdict is known sooner."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from metaflow import lint

from metaflow_dagster.frontend.protocols import Graph, Node
from metaflow_dagster.internals.metaflow import MetaflowReading

_SEARCH_FOR_LOOPS = "check_for_acyclicity"  # metaflow/lint.py


def run_checks(graph: Graph) -> None:
    """Let Metaflow check a graph; raises what it objects to.

    It looks for loops by following every path from every step, which takes time with the cube of
    a chain's length. Where there is none, it need not look.
    """
    all_checks = MetaflowReading.checks
    linter: Any = copy.copy(lint.linter)
    if not has_loop(graph):
        checks = [check for check in all_checks(linter) if check.__name__ != _SEARCH_FOR_LOOPS]
        setattr(linter, all_checks.attribute, checks)
    linter.run_checks(graph)


def has_loop(graph: Graph) -> bool:
    """Whether a step can come after itself, other than a switch that may choose itself."""
    try:
        TopologicalSorter({node.name: list(_later_steps(node)) for node in graph}).prepare()
    except CycleError:
        return True
    return False


def _later_steps(node: Node) -> Iterator[str]:
    """The steps that may follow, without the step itself if it is a recursive switch."""
    return (step for step in node.out_funcs if node.type != "split-switch" or step != node.name)
