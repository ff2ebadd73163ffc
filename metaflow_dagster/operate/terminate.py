"""Ending a run before its time."""

from __future__ import annotations

import time

from metaflow_dagster.operate.errors import RunNotTerminated
from metaflow_dagster.operate.runs import DagsterRun
from metaflow_dagster.operate.target import Target

# Steps get some seconds to end by themselves before they are killed.
_SECONDS_TO_END = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5


def terminate_run(target: Target, run: DagsterRun) -> bool:
    """Let a run end, and wait for that for a while; whether it has ended."""
    if run.phase.is_finished:
        raise RunNotTerminated(
            f"{run.metaflow_run_id} has ended already ({run.phase.value}): there is nothing to "
            "terminate."
        )
    target.terminate(run)
    deadline = time.monotonic() + _SECONDS_TO_END
    while not target.run(run.id).phase.is_finished:
        if time.monotonic() > deadline:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True
