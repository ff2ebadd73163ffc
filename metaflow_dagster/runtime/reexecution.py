"""The plan of a run that re-executes another from its failure, which Dagster makes too small."""

from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from metaflow_dagster.internals.execution import DagsterReexecution


def completed(context: Any) -> tuple[Any, DagsterRun]:
    """The plan and the run, with the mapped ops that Dagster leaves out of a re-execution.

    Where an op is skipped for one item, Dagster re-executes it for no other item, though one of
    them may have failed before it (dagster/_core/execution/plan/state.py:
    _derive_state_of_past_run).
    """
    plan, run = context.execution_plan, context.dagster_run
    left_out = ops_left_out(context)
    if not left_out:
        return plan, run
    job = context.job.get_definition()
    config = DagsterReexecution.run_config(job, context.run_config)
    keys = [*plan.step_keys_to_execute, *left_out]
    # Dagster enters what it resolves, and goes on to use the plan that it has made itself.
    own = DagsterReexecution.with_steps(plan, dict(plan.step_dict), dict(plan.step_dict_by_key))
    # By the keys of its run, an op knows whose outputs to take: those of this run or an earlier.
    subset = DagsterReexecution.subset(own, keys, job, config)
    return subset, DagsterReexecution.with_keys(run, keys)


def ops_left_out(context: Any) -> list[str]:
    """The mapped ops that no run has come to, of those that are to carry on one which failed."""
    plan = context.execution_plan
    earlier = earlier_runs(context)
    if not earlier:
        return []
    mapped = DagsterReexecution.mapped_handle.get()
    done = {*plan.step_keys_to_execute, *keys_with_outputs(plan.known_state.parent_state)}
    for run in earlier:
        done |= skipped_in(context.instance, run.run_id)
    return [
        key
        for key, step in plan.step_dict_by_key.items()
        if isinstance(step.handle, mapped) and key not in done
    ]


def earlier_runs(context: Any) -> list[DagsterRun]:
    """The runs that this one carries on from their failures: none, if it runs chosen ops again."""
    runs: list[DagsterRun] = []
    run = context.dagster_run
    while run.parent_run_id:
        parent = context.instance.get_run_by_id(run.parent_run_id)
        if parent is None or not carries_on(context.instance, run, parent):
            return []
        runs.append(parent)
        run = parent
    return runs


def carries_on(instance: DagsterInstance, run: DagsterRun, parent: DagsterRun) -> bool:
    """Whether a run has the ops that Dagster chooses to re-execute another from its failure."""
    if parent.status not in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        return False
    chosen, _ = DagsterReexecution.from_failure(instance, parent)
    return set(chosen) == set(run.step_keys_to_execute or ())


def keys_with_outputs(state: Any) -> set[str]:
    """The ops that have given their outputs in an earlier run."""
    keys: set[str] = set()
    while state is not None:
        keys |= {output.step_key for output in state.produced_outputs}
        state = state.parent_state
    return keys


def skipped_in(instance: DagsterInstance, run_id: str) -> set[str]:
    """The ops that a run has skipped."""
    records = instance.all_logs(run_id, of_type=DagsterEventType.STEP_SKIPPED)
    return {record.step_key for record in records if record.step_key}
