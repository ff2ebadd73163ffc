"""Compiles Metaflow flows into Dagster definitions."""

from metaflow_dagster.compiler import synthesize
from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.version import VERSION

__version__ = VERSION

__all__ = ["CompileError", "Diagnostic", "synthesize"]
