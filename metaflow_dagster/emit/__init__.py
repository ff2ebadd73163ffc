"""Turns a `JobPlan` into the text of a Python module.

Input: `ir.JobPlan`, the options and the place of the output file. Output: `str`. One construct a
file; `build` is the only place that spells raw syntax nodes. `emit_location` makes one more module,
which merges those of several jobs.
"""

from metaflow_dagster.emit.delivery import SHARED_MODULE
from metaflow_dagster.emit.library import runtime_library
from metaflow_dagster.emit.module import emit_location, emit_module, emit_shared_runtime

__all__ = [
    "SHARED_MODULE",
    "emit_location",
    "emit_module",
    "emit_shared_runtime",
    "runtime_library",
]
