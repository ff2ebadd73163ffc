"""What has happened to a task before: in an earlier attempt, or in a run that is continued."""

import re
import threading
from collections.abc import Mapping

from dagster import OpExecutionContext

from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.settings import (
    OPS_ARE_DELIVERED,
    ORIGIN_RUN_ID,
    ORIGIN_TAG,
    RUN_ID_TAG,
)
from metaflow_dagster.runtime.store import completed_datastore, next_attempt
from metaflow_dagster.runtime.tasks import Task, metaflow_run_id

RUN_ID = r"dagster-\w+"
NAMING_LOCK = threading.Lock()  # since two threads that give a run the same tag give it twice


def run_id_of(context: OpExecutionContext) -> str:
    """The Metaflow run of a Dagster run: a new one, unless the op has failed to start it before."""
    parent_id = context.run.parent_run_id
    if parent_id and is_selected(context) and not has_succeeded(context, parent_id):
        parent = context.instance.get_run_by_id(parent_id)
        if parent and (known := tagged_run_id(parent.tags)):
            return known
    return metaflow_run_id(context.run_id)


def tagged_run_id(tags: Mapping[str, str]) -> str | None:
    """The Metaflow run that tags name; anybody can write some, and what is no run's id is none."""
    known = tags.get(RUN_ID_TAG, "")
    return known if re.fullmatch(RUN_ID, known) else None


def name_run(context: OpExecutionContext, run_id: str) -> None:
    """Tag a Dagster run with its Metaflow run; one that continues another's has not started it."""
    if not context.run.parent_run_id or context.run.tags.get(RUN_ID_TAG) == run_id:
        return
    with NAMING_LOCK:
        run = context.instance.get_run_by_id(context.run_id)  # as other ops may have left it
        if run is not None and run.tags.get(RUN_ID_TAG) != run_id:
            context.instance.add_run_tags(context.run_id, {RUN_ID_TAG: run_id})


def origin_run_id(context: OpExecutionContext) -> str | None:
    """The Metaflow run that this run resumes, and whose finished tasks it has got as clones."""
    return context.run.tags.get(ORIGIN_TAG, ORIGIN_RUN_ID)


def may_be_known(context: OpExecutionContext) -> bool:
    """Whether Metaflow's datastore may know the task of this op already."""
    is_repeated = context.retry_number > 0 or context.run.parent_run_id is not None
    return OPS_ARE_DELIVERED or is_repeated or origin_run_id(context) is not None


def is_selected(context: OpExecutionContext) -> bool:
    """Whether a run re-executes ops of another, as all that failed, but not that run as a whole."""
    return bool(context.run.parent_run_id and context.run.step_keys_to_execute)


def has_succeeded(context: OpExecutionContext, dagster_run_id: str) -> bool:
    """Whether an op has succeeded in another run."""
    mapping_key = context.get_mapping_key()
    key = f"{context.op_handle}[{mapping_key}]" if mapping_key else str(context.op_handle)
    stats = context.instance.get_run_step_stats(dagster_run_id, [key])
    return any(one.status and one.status.value == "SUCCESS" for one in stats)


def is_to_be_repeated(context: OpExecutionContext) -> bool:
    """Whether a user has chosen this op to be executed again, though it has succeeded."""
    parent_id = context.run.parent_run_id
    is_first = context.retry_number == 0 and is_selected(context)
    return bool(is_first and parent_id and has_succeeded(context, parent_id))


def known_attempts(context: OpExecutionContext, task: Task) -> int:
    """How many attempts of an op's task there have been, a clone counted as one."""
    return next_attempt(task) if may_be_known(context) else 0


def has_finished(context: OpExecutionContext, task: Task, attempts: int) -> bool:
    """Whether a task, which has had some attempts or was cloned, need not run again."""
    return (
        attempts > 0
        and completed_datastore(task, attempts - 1) is not None
        and not is_to_be_repeated(context)
    )


def refuse_more_attempts(task: Task, attempts: int) -> None:
    """Fail where Metaflow would not take the result of another attempt."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    if attempts >= MAX_ATTEMPTS:
        raise final_failure(
            f"Task {task} has had {attempts} attempts, and Metaflow takes no more. Resume the run "
            "instead; that makes a new run, in which what has finished is not run again: "
            f"dagster resume --run-id {task.run_id}"
        )
