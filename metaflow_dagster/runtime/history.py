"""The history of a task: earlier attempts, and the run that is continued."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from dagster import OpExecutionContext

from metaflow_dagster.internals.metaflow import MetaflowArtifacts
from metaflow_dagster.runtime.failures import final_failure, readable
from metaflow_dagster.runtime.settings import ORIGIN_TAG, RUN_ID_TAG, FlowSettings
from metaflow_dagster.runtime.store import next_attempt, task_datastore
from metaflow_dagster.runtime.tasks import (
    EARLIER_PARAMETERS_ID,
    PARAMETERS_ID,
    PARAMETERS_STEP,
    Task,
    earlier_id,
    metaflow_run_id,
    parse_task,
    repeatable_id,
)

RUN_ID = r"dagster-\w{1,100}"  # as in names.py
NAMING_LOCK = threading.Lock()  # since two threads that give a run the same tag give it twice


def run_id_of(context: OpExecutionContext) -> str:
    """The Metaflow run of the Dagster run that an op belongs to; no input tells it.

    A run that re-executes ops of another continues the Metaflow run of that, unless it repeats the
    first op, which had succeeded: then it is a new one.
    """
    parent_id = context.run.parent_run_id
    if parent_id is None or not is_selected(context) or begins_anew(context, parent_id):
        return metaflow_run_id(context.run_id)
    parent = context.instance.get_run_by_id(parent_id)
    run_ids = (tagged_run_id(run.tags) for run in (parent, context.run) if run is not None)
    return next(filter(None, run_ids), metaflow_run_id(context.run_id))


def begins_anew(context: OpExecutionContext, parent_id: str) -> bool:
    """Whether a run re-executes the first op although that has succeeded in the run before."""
    first = first_step_key(context)
    return first in (context.run.step_keys_to_execute or ()) and has_succeeded(
        context, parent_id, first
    )


def first_step_key(context: OpExecutionContext) -> str:
    """Dagster's key of the first step, in the job or in the graph that the flow's asset is."""
    parent = context.op_handle.parent
    around: Any = context.job_def.graph
    if parent:
        around = around.get_node(parent).definition
    (first,) = (node.name for node in around.nodes if is_first(node.definition))
    return f"{parent}.{first}" if parent else first


def is_first(definition: Any) -> bool:
    """Whether nothing that has a value comes before an op."""
    return all(given.dagster_type.is_nothing for given in definition.input_defs)


def tagged_run_id(tags: Mapping[str, str]) -> str | None:
    """The Metaflow run that tags name; anybody can write some, and what is no run's id is none."""
    run_id = tags.get(RUN_ID_TAG, "")
    return run_id if re.fullmatch(RUN_ID, run_id) else None


def name_run(context: OpExecutionContext, run_id: str) -> None:
    """Tag a Dagster run with its Metaflow run; one that continues another's has not started it."""
    if not context.run.parent_run_id or context.run.tags.get(RUN_ID_TAG) == run_id:
        return
    with NAMING_LOCK:
        run = context.instance.get_run_by_id(context.run_id)  # as other ops may have left it
        if run is not None and run.tags.get(RUN_ID_TAG) != run_id:
            context.instance.add_run_tags(context.run_id, {RUN_ID_TAG: run_id})


def origin_run_id(flow: FlowSettings, context: OpExecutionContext) -> str | None:
    """The Metaflow run that this run resumes, and whose finished tasks it has got as clones."""
    return context.run.tags.get(ORIGIN_TAG, flow.origin_run_id)


def may_be_known(flow: FlowSettings, context: OpExecutionContext) -> bool:
    """Whether Metaflow's datastore may know the task of this op already."""
    is_repeated = context.retry_number > 0 or context.run.parent_run_id is not None
    return flow.is_delivered or is_repeated or origin_run_id(flow, context) is not None


def is_selected(context: OpExecutionContext) -> bool:
    """Whether a run re-executes ops of another, as all that failed, but not that run as a whole."""
    return bool(context.run.parent_run_id and context.run.step_keys_to_execute)


def has_succeeded(context: OpExecutionContext, dagster_run_id: str, step_key: str) -> bool:
    """Whether an op has succeeded in another run."""
    stats = context.instance.get_run_step_stats(dagster_run_id, [step_key])
    return any(found.status and found.status.value == "SUCCESS" for found in stats)


def step_key_of(context: OpExecutionContext) -> str:
    """Dagster's key of what an op executes, as in `op_fit[0_2]`."""
    mapping_key = context.get_mapping_key()
    return f"{context.op_handle}[{mapping_key}]" if mapping_key else str(context.op_handle)


def is_to_be_repeated(context: OpExecutionContext) -> bool:
    """Whether a user has chosen this op to be executed again, though it has succeeded."""
    parent_id = context.run.parent_run_id
    is_first = context.retry_number == 0 and is_selected(context)
    return bool(is_first and parent_id and has_succeeded(context, parent_id, step_key_of(context)))


def task_of(flow: FlowSettings, context: OpExecutionContext, step: str, part: str = "") -> Task:
    """The task that an op runs; in a run that a file compiled earlier began, with its id there."""
    run_id, mapping_key = run_id_of(context), context.get_mapping_key()
    if may_be_known(flow, context) and has_earlier_ids(flow, run_id):
        return Task(run_id, step, earlier_id(mapping_key, part))
    return Task(run_id, step, repeatable_id(step, mapping_key, part))


def parameters_task(flow: FlowSettings, context: OpExecutionContext) -> Task:
    """Metaflow's task that holds the parameters of the run; clones have the id of their origin."""
    task = Task(run_id_of(context), PARAMETERS_STEP, PARAMETERS_ID)
    earlier = replace(task, id=EARLIER_PARAMETERS_ID)
    return earlier if known_attempts(flow, context, earlier) else task


@cache
def has_earlier_ids(flow: FlowSettings, run_id: str) -> bool:
    """Whether a run, which has been started, names its tasks as files compiled earlier did."""
    return next_attempt(flow, Task(run_id, PARAMETERS_STEP, EARLIER_PARAMETERS_ID)) > 0


def refuse_foreign_input(task: Task, input_paths: Sequence[str]) -> None:
    """Fail where an op has got a task of another run, as its result would end up in that."""
    foreign = [path for path in input_paths if parse_task(path).run_id != task.run_id]
    if foreign:
        raise final_failure(
            f"Step {task.step} is to run in {task.run_id}, but has got {foreign[0]}, a task of "
            f"another run. Re-execute the op of {parse_task(foreign[0]).step} as well, or run the "
            "whole job anew."
        )


def known_attempts(flow: FlowSettings, context: OpExecutionContext, task: Task) -> int:
    """How many attempts of an op's task there have been, a clone counted as one."""
    return next_attempt(flow, task) if may_be_known(flow, context) else 0


def stored_attempt(flow: FlowSettings, task: Task, attempt: int) -> Any:
    """The datastore of an attempt that Metaflow has stored to its end; None if it has not."""
    from metaflow.datastore.exceptions import DataException

    with readable(task):
        try:
            return task_datastore(flow, task, attempt, "r")
        except DataException:
            return None


def is_task_ok(flow: FlowSettings, task: Task, attempt: int) -> bool:
    """Whether an attempt of a task has succeeded, in Metaflow's eyes."""
    datastore = stored_attempt(flow, task, attempt)
    with readable(task):
        return datastore is not None and bool(datastore.get(MetaflowArtifacts.is_finished))


def has_finished(
    flow: FlowSettings, context: OpExecutionContext, task: Task, attempts: int
) -> bool:
    """Whether the task already finished, as an earlier attempt or as a clone."""
    is_ok = attempts > 0 and is_task_ok(flow, task, attempts - 1)
    return is_ok and not is_to_be_repeated(context)


def refuse_more_attempts(task: Task, attempts: int) -> None:
    """Fail where Metaflow would not take the result of another attempt."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    if attempts >= MAX_ATTEMPTS:
        raise final_failure(
            f"Task {task} has had {attempts} attempts, and Metaflow takes no more. Resume the run "
            "instead; that makes a new run, in which what has finished is not run again: "
            f"dagster resume --run-id {task.run_id}"
        )
