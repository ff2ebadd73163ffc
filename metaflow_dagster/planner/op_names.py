"""The names of ops, their inputs and their outputs in Dagster."""

from __future__ import annotations

from collections.abc import Mapping

from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.names import (
    BRANCH_PREFIX,
    DAGSTER_RESERVED,
    INPUT_PREFIX,
    OP_BODY_NAMES,
    OP_PREFIX,
    Scope,
    ascii_name,
    is_dagster_name,
)


class OpNames:
    """The names of the nodes of one job."""

    def __init__(self, flow: Flow, job_name: str) -> None:
        self._job_name = job_name
        steps = Scope()
        self._steps: Mapping[str, str] = {
            step.name: steps.claim(OP_PREFIX + ascii_name(step.name)) for step in flow.steps
        }
        # A step may be called as a glue op would be, and their definitions have no prefix.
        self._glue = Scope(node.removeprefix(OP_PREFIX) for node in self._steps.values())

    def of_step(self, step: str) -> str:
        """The node of a step."""
        return self._steps[step]

    def glue(self, purpose: str, step: str) -> str:
        """A node for a glue op."""
        return self._glue.claim(f"{purpose}_{ascii_name(step)}")

    def definition(self, node: str) -> str:
        """The definition of a node, told apart from those of other jobs in a code location."""
        return f"{self._job_name}__{node.removeprefix(OP_PREFIX)}"


def input_names(parents: tuple[str, ...]) -> tuple[str, ...]:
    """An input for each parent step, named after it where Dagster and the op's body allow that."""
    names = Scope(DAGSTER_RESERVED | OP_BODY_NAMES)
    return tuple(
        names.claim(plain if _is_input_name(plain) else INPUT_PREFIX + plain)
        for plain in map(ascii_name, parents)
    )


def _is_input_name(name: str) -> bool:
    return is_dagster_name(name) and name not in OP_BODY_NAMES


def branch_names(targets: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """An output for each target step, named after it where Dagster allows that.

    Dagster makes a namedtuple of the outputs, whose fields must not start with an underscore.
    """
    names = Scope(DAGSTER_RESERVED)
    return tuple(
        (
            target,
            names.claim(
                plain
                if is_dagster_name(plain) and not plain.startswith("_")
                else BRANCH_PREFIX + plain
            ),
        )
        for target, plain in zip(targets, map(ascii_name, targets), strict=True)
    )
