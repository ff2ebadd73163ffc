"""Reads a Metaflow flow into the `Flow` IR.

Input: a flow in Metaflow's command line context, with its decorators attached and initialised.
Output: `ir.Flow`, or a `CompileError` with everything that is unsupported. This package is the
only place that touches Metaflow's objects.
"""

from metaflow_dagster.frontend.extensions import hidden_extensions
from metaflow_dagster.frontend.package import pack_code
from metaflow_dagster.frontend.read import read_flow
from metaflow_dagster.frontend.session import Session, flow_class, library_session

__all__ = [
    "Session",
    "flow_class",
    "hidden_extensions",
    "library_session",
    "pack_code",
    "read_flow",
]
