"""What Metaflow's datastore holds of the attempts of a task."""

import pickle
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import Failure

from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import store_of
from metaflow_dagster.runtime.tasks import Task

# What reading and unpickling can raise of which something is damaged (the pickle module's page).
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zlib.error,
)


def task_datastore(flow: FlowSettings, task: Task, attempt: int | None, mode: str) -> Any:
    """Metaflow's datastore of one attempt of a task (metaflow/datastore/task_datastore.py)."""
    return (
        store_of(flow)
        .of_flow(flow.name)
        .get_task_datastore(task.run_id, task.step, task.id, attempt=attempt, mode=mode)
    )


def next_attempt(flow: FlowSettings, task: Task) -> int:
    """The first attempt of the task that the datastore does not know."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    datastore = task_datastore(flow, task, 0, "w")
    for attempt in range(MAX_ATTEMPTS):
        if not datastore.has_metadata(f"{attempt}.attempt.json", add_attempt=False):
            return attempt
    return int(MAX_ATTEMPTS)


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
        return datastore is not None and bool(datastore.get("_task_ok"))


@contextmanager
def readable(task: Task) -> Iterator[None]:
    """`dagster.Failure` if what Metaflow has stored of a task cannot be read."""
    try:
        yield
    except UNREADABLE as error:
        raise Failure(
            f"What Metaflow has stored of task {task} cannot be read ({type(error).__name__}: "
            f"{error}). If it is damaged, run the job anew."
        ) from error
