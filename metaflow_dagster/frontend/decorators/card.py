"""`@card`, to whose cards the op links."""

from __future__ import annotations

from dataclasses import replace

from metaflow_dagster.frontend.decorators.handling import StepHandling
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.ir.flow import Step


def read(_: Node, step: Step) -> Step:
    """The step with cards to look for."""
    return replace(step, has_cards=True)


HANDLING = StepHandling("card", tell=lambda _: "drawn by Metaflow, linked to by the op", read=read)
