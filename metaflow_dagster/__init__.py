"""Compiles Metaflow flows into Dagster definitions."""

from typing import TYPE_CHECKING

from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.version import VERSION

if TYPE_CHECKING:
    from metaflow_dagster.compiler import synthesize
    from metaflow_dagster.components import MetaflowFlowComponent as MetaflowFlowComponent
    from metaflow_dagster.operate.publish import publish

__version__ = VERSION

# Without the component, which an old Dagster does not have.
__all__ = ["CompileError", "Diagnostic", "publish", "synthesize"]


def __getattr__(name: str) -> object:
    """Import Metaflow and Dagster not before they are needed: every call of `dg` imports this."""
    match name:
        case "synthesize":
            from metaflow_dagster.compiler import synthesize

            return synthesize
        case "publish":
            from metaflow_dagster.operate.publish import publish

            return publish
        case "MetaflowFlowComponent":
            from metaflow_dagster.components import MetaflowFlowComponent

            return MetaflowFlowComponent
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names among which `dg` looks for components, without those that import Metaflow."""
    return sorted({*globals(), "MetaflowFlowComponent"})
