"""`@exit_hook`, whose effect would be lost: what it asks for is the orchestrator's to do."""

from __future__ import annotations

from collections.abc import Iterator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.decorators.handling import FlowHandling, unsupported
from metaflow_dagster.frontend.protocols import FlowObject


def check(_: FlowObject) -> Iterator[Diagnostic]:
    """Refuse it."""
    hint = "Use a Dagster hook or run status sensor, or take @exit_hook off."
    yield unsupported("exit_hook", hint)


HANDLING = FlowHandling("exit_hook", check=check)
