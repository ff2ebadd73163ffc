"""`@retry`: Dagster tries the op again, after the pause that the decorator asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.handling import (
    StepHandling,
    at_step,
    decorators_named,
)
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.frontend.texts import short
from metaflow_dagster.ir.flow import Step

_LONGEST_PAUSE = 60 * 24 * 366  # minutes, a year


def check(node: Node) -> Iterator[Diagnostic]:
    """Refuse a pause between retries that Dagster cannot wait for."""
    for minutes in _pauses(node):
        try:
            is_known = 0 <= int(minutes) <= _LONGEST_PAUSE  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            is_known = False
        if not is_known:
            yield at_step(
                node,
                f"@retry has {short(minutes)} minutes_between_retries.",
                f"Write a whole number from 0 to {_LONGEST_PAUSE}.",
            )


def read(node: Node, step: Step) -> Step:
    """The step with its pause between attempts."""
    pause = max(int(minutes) for minutes in _pauses(node))  # type: ignore[call-overload]
    return replace(step, retries=replace(step.retries, minutes_between=pause))


def _pauses(node: Node) -> list[object]:
    retries = decorators_named("retry", node)
    return [decorator.attributes["minutes_between_retries"] for decorator in retries]


HANDLING = StepHandling(
    "retry",
    tell=lambda _: "Dagster tries the op again, as the next attempt of the task",
    check=check,
    read=read,
)
