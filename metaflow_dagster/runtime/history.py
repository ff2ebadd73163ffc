"""What has happened to a task before: in an earlier attempt, or in a run that is continued."""

from dagster import Failure, OpExecutionContext

from metaflow_dagster.runtime.settings import ORIGIN_RUN_ID
from metaflow_dagster.runtime.store import completed_datastore, next_attempt
from metaflow_dagster.runtime.tasks import Task, metaflow_run_id

RUN_ID_TAG = "metaflow/run_id"
ORIGIN_TAG = "metaflow/origin_run_id"  # the Metaflow run to resume
RESUME_STEP_TAG = "metaflow/resume_step"  # from which on to run again what has finished
FROM_FAILURE_TAG = "dagster/is_resume_retry"  # dagster/_core/storage/tags.py: RESUME_RETRY_TAG


def run_id_of(context: OpExecutionContext) -> str:
    """The Metaflow run of a Dagster run, which one that re-executes from failure continues."""
    parent_id = context.run.parent_run_id
    if parent_id and is_from_failure(context):
        parent = context.instance.get_run_by_id(parent_id)
        if parent and RUN_ID_TAG in parent.tags:
            return parent.tags[RUN_ID_TAG]
    return metaflow_run_id(context.run_id)


def origin_run_id(context: OpExecutionContext) -> str | None:
    """The Metaflow run that this run resumes, and whose finished tasks it has got as clones."""
    return context.run.tags.get(ORIGIN_TAG, ORIGIN_RUN_ID)


def is_from_failure(context: OpExecutionContext) -> bool:
    """Whether Dagster re-executes what failed in another run or was not reached there."""
    return context.run.tags.get(FROM_FAILURE_TAG) == "true"


def may_be_known(context: OpExecutionContext) -> bool:
    """Whether Metaflow's datastore may know the task of this op already."""
    is_repeated = context.retry_number > 0 or context.run.parent_run_id is not None
    return is_repeated or origin_run_id(context) is not None


def is_chosen(context: OpExecutionContext) -> bool:
    """Whether a user has selected this op to be executed again, though it may have finished."""
    is_selection = bool(context.run.step_keys_to_execute) and not is_from_failure(context)
    return is_selection and context.retry_number == 0


def known_attempts(context: OpExecutionContext, task: Task) -> int:
    """How many attempts of an op's task there have been, a clone counted as one."""
    return next_attempt(task) if may_be_known(context) else 0


def has_finished(context: OpExecutionContext, task: Task, attempts: int) -> bool:
    """Whether a task, which has had some attempts or was cloned, need not run again."""
    return attempts > 0 and not is_chosen(context) and bool(completed_datastore(task, attempts - 1))


def refuse_more_attempts(task: Task, attempts: int) -> None:
    """Fail where Metaflow would not take the result of another attempt."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    if attempts >= MAX_ATTEMPTS:
        raise Failure(
            f"Task {task} has had {attempts} attempts, and Metaflow takes no more. Resume the run "
            "instead; that makes a new run, in which what has finished is not run again: "
            f"dagster resume --run-id {task.run_id}",
            allow_retries=False,
        )
