"""Finding a Metaflow run among the runs of a target."""

from __future__ import annotations

from metaflow_dagster.names import is_run_id
from metaflow_dagster.operate.errors import RunNotFound
from metaflow_dagster.operate.runs import (
    EXAMPLE_RUN_ID,
    FLOW_TAG,
    RUN_ID_TAG,
    DagsterRun,
)
from metaflow_dagster.operate.target import Target

# Runs that were looked through if none has the tag, which a run gets when its first op starts.
_LATEST = 100


def find_run(target: Target, flow: str, run_id: str) -> DagsterRun | None:
    """The Dagster run of a Metaflow run, the latest if it was executed again; None if unknown."""
    for run in target.runs_tagged(RUN_ID_TAG, run_id, 1):
        return run
    latest = target.runs_tagged(FLOW_TAG, flow, _LATEST)
    return next((run for run in latest if run.metaflow_run_id == run_id), None)


def known_run(target: Target, flow: str, pathspec: str) -> DagsterRun:
    """The Dagster run that a user means; `RunNotFound` says what is wrong."""
    flow_name, run_id = split_run_id(pathspec, flow)
    if not is_run_id(run_id):
        raise RunNotFound(
            f"{run_id!r} is not a run of Dagster: ids of those are like {EXAMPLE_RUN_ID}. "
            "`dagster list-runs` lists them."
        )
    run = find_run(target, flow, run_id) if flow_name == flow else None
    if run is None or run.tags.get(FLOW_TAG, flow) != flow:
        raise RunNotFound(
            f"This Dagster has no run {run_id} of {flow}. `dagster list-runs` lists those it has; "
            "--url or DAGSTER_HOME chooses another Dagster."
        )
    return run


def split_run_id(pathspec: str, flow: str) -> tuple[str, str]:
    """Flow and run id of a run, which may be given by its pathspec too."""
    flow_name, _, run_id = pathspec.rpartition("/")
    return flow_name or flow, run_id
