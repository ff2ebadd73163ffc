"""Resuming a run: a new run that takes the finished tasks of another instead of running them.

The new run is a run of the same job. Tags tell its first op which run it continues; that op lets
Metaflow clone the finished tasks, and with them the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow_dagster.frontend.parameters import parameter_kinds
from metaflow_dagster.frontend.protocols import CliState
from metaflow_dagster.internals.metaflow import MetaflowFlow, MetaflowRuns
from metaflow_dagster.ir.flow import ParameterKind
from metaflow_dagster.names import is_run_id
from metaflow_dagster.operate.errors import RunNotResumed
from metaflow_dagster.operate.find import find_run, split_run_id
from metaflow_dagster.operate.parameters import FILE_PLACEHOLDER, resumed_config
from metaflow_dagster.operate.runs import (
    EXAMPLE_RUN_ID,
    FLOW_TAG,
    METAFLOW_PARTITION_TAG,
    ORIGIN_TAG,
    PARTITION_TAG,
    RESUME_STEP_TAG,
    TRIGGERS_TAG,
    DagsterRun,
    JobChoice,
    Launch,
)
from metaflow_dagster.operate.target import Target
from metaflow_dagster.runtime.store import nearest_metadata
from metaflow_dagster.runtime.tasks import PARAMETERS_STEP
from metaflow_dagster.shell import shell_word


@dataclass(frozen=True, slots=True)
class Origin:
    """A run that can be resumed; its Dagster run is None if the target does not know it."""

    run_id: str
    dagster_run: DagsterRun | None

    @property
    def job_name(self) -> str | None:
        """The job that it was a run of."""
        return self.dagster_run.job_name if self.dagster_run else None


def find_origin(
    target: Target, state: CliState, given: str, step: str | None, flow_file: Path
) -> Origin:
    """The run that a user wants to resume; `RunNotResumed` says why it cannot be."""
    flow = state.flow.name
    run_id = _run_id(flow, given)
    _check_step(state, step)
    dagster_run = find_run(target, flow, run_id)
    _check_dagster_run(flow, run_id, dagster_run)
    metadata = state.metadata.metadata_str()
    stores = [metadata, *nearest_metadata(metadata, str(flow_file))]
    run = _metaflow_run(f"{flow}/{run_id}", stores)
    _check_metaflow_run(flow, run_id, run, step)
    return Origin(run_id, dagster_run)


def resuming_launch(state: CliState, origin: Origin, step: str | None, job: JobChoice) -> Launch:
    """The run that continues another, with a step and all after it run again if there is one."""
    run = origin.dagster_run
    tags = {ORIGIN_TAG: origin.run_id}
    if step is not None:
        tags[RESUME_STEP_TAG] = step
    if run is not None and TRIGGERS_TAG in run.tags:
        tags[TRIGGERS_TAG] = run.tags[TRIGGERS_TAG]
    parameters = _parameters(state, origin.run_id, run)
    partition = run.tags.get(PARTITION_TAG) if run else _stored_partition(state, origin.run_id)
    settings = run.settings if run else {}
    return Launch(state.flow.name, job, parameters, tags, settings, partition)


def _run_id(flow: str, pathspec: str) -> str:
    flow_name, run_id = split_run_id(pathspec, flow)
    if flow_name != flow:
        raise RunNotResumed(
            f"{pathspec} is not a run of {flow}. Resume it with the file of its flow."
        )
    if not is_run_id(run_id):
        raise RunNotResumed(
            f"{run_id!r} was not run by Dagster: the ids of its runs are like {EXAMPLE_RUN_ID}. "
            f"Use Metaflow's own `python FLOW.py resume --origin-run-id {shell_word(run_id)}`."
        )
    return run_id


def _check_step(state: CliState, step: str | None) -> None:
    steps = state.graph.sorted_nodes
    if step is not None and step not in steps:
        raise RunNotResumed(f"{state.flow.name} has no step {step}. Its steps: {', '.join(steps)}.")


def _check_dagster_run(flow: str, run_id: str, run: DagsterRun | None) -> None:
    if run is None:
        return  # It may have been run on another Dagster; Metaflow knows.
    if run.tags.get(FLOW_TAG, flow) != flow:
        raise RunNotResumed(
            f"{run_id} is a run of {run.tags[FLOW_TAG]}, not of {flow}. Resume it with the file "
            "of its flow."
        )
    if not run.phase.is_finished:
        raise RunNotResumed(
            f"{run_id} has not ended yet ({run.phase.value}). Wait for its end, or end it with "
            f"`dagster terminate {run_id}`."
        )


def _check_metaflow_run(flow: str, run_id: str, run: Any, step: str | None) -> None:
    if run is None:
        raise RunNotResumed(
            f"Metaflow knows no run {run_id} of {flow}. Check the id; if the run is stored "
            "elsewhere, give --metadata and --datastore before `dagster`."
        )
    if run.successful and step is None:
        raise RunNotResumed(
            f"{run_id} has succeeded: there is nothing to resume. To run it again from a step on, "
            "name that with --step."
        )


def _metaflow_run(pathspec: str, stores: Sequence[str]) -> Any:
    """The run in the first store that has it; the client stays at that store."""
    from metaflow import metadata
    from metaflow.exception import MetaflowNotFound

    for store in stores:
        metadata(store)
        try:
            return MetaflowRuns.run(pathspec, MetaflowRuns.is_checked, None)
        except MetaflowNotFound:
            continue
    return None


def _parameters(state: CliState, run_id: str, run: DagsterRun | None) -> Mapping[str, object]:
    """The parameters of the run, of which the job requires some though it ignores them all."""
    kinds = parameter_kinds(state.flow)
    if run is not None and not run.tags.get(ORIGIN_TAG):
        return {name: value for name, value in run.parameters.items() if name in kinds}
    return resumed_config(state.flow, dict(_stored_parameters(state, run_id, kinds)))


def _stored_partition(state: CliState, run_id: str) -> str | None:
    """The partition of a run, by its tags in Metaflow."""
    pathspec = f"{state.flow.name}/{run_id}"
    tags = MetaflowRuns.run(pathspec, MetaflowRuns.is_checked, None).user_tags
    given = (tag.partition(f"{METAFLOW_PARTITION_TAG}:") for tag in tags)
    return next((key for before, mark, key in given if mark and not before), None)


def _stored_parameters(
    state: CliState, run_id: str, kinds: Mapping[str, ParameterKind]
) -> Iterator[tuple[str, object]]:
    """The parameters as Metaflow has stored them, without reading any file."""
    pathspec = f"{state.flow.name}/{run_id}/{PARAMETERS_STEP}"
    task = MetaflowRuns.step(pathspec, MetaflowRuns.is_checked).task
    for variable, parameter in MetaflowFlow.parameters(state.flow)():
        if kinds.get(parameter.name) is ParameterKind.FILE:
            if parameter.kwargs.get("required"):
                yield parameter.name, FILE_PLACEHOLDER
        elif parameter.name in kinds and variable in task:
            yield parameter.name, task[variable].data
