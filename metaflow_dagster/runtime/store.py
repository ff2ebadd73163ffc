"""Metaflow's datastore, as far as an op reads and writes it itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import Failure

from metaflow_dagster.runtime.command import adopt_settings, local_sysroot
from metaflow_dagster.runtime.process import CapturedProcess
from metaflow_dagster.runtime.settings import FLOW_NAME, METAFLOW_TOP_ARGS
from metaflow_dagster.runtime.tasks import Task


def datastore_root() -> tuple[Any, str]:
    """Metaflow's storage class for the datastore of this file, and its root."""
    adopt_settings()
    from metaflow.plugins import DATASTORES

    options = dict(argument.split("=", 1) for argument in METAFLOW_TOP_ARGS if "=" in argument)
    storage = next(one for one in DATASTORES if options["--datastore"] == one.TYPE)
    if "--datastore-root" in options:
        return storage, options["--datastore-root"]
    return storage, os.path.join(local_sysroot(), ".metaflow")


def task_datastore(task: Task, attempt: int | None, mode: str) -> Any:
    """Metaflow's datastore of one attempt of a task (metaflow/datastore/task_datastore.py)."""
    from metaflow.datastore import FlowDataStore

    storage, root = datastore_root()
    flow_datastore = FlowDataStore(FLOW_NAME, None, storage_impl=storage, ds_root=root)
    return flow_datastore.get_task_datastore(
        task.run_id, task.step, task.id, attempt=attempt, mode=mode
    )


def next_attempt(task: Task) -> int:
    """The first attempt of the task that the datastore does not know."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    datastore = task_datastore(task, 0, "w")
    for attempt in range(MAX_ATTEMPTS):
        if not datastore.has_metadata(f"{attempt}.attempt.json", add_attempt=False):
            return attempt
    return int(MAX_ATTEMPTS)


def completed_datastore(task: Task, attempt: int) -> Any:
    """The datastore of an attempt that has succeeded; None if it has not."""
    from metaflow.datastore.exceptions import DataException

    with readable(task):
        try:
            datastore = task_datastore(task, attempt, "r")
        except DataException:
            return None
        return datastore if datastore.get("_task_ok") else None


@contextmanager
def readable(task: Task) -> Iterator[None]:
    """`dagster.Failure` if what Metaflow has stored of a task cannot be read."""
    try:
        yield
    except Exception as error:  # what is damaged may raise anything when it is unpickled
        raise Failure(
            f"What Metaflow has stored of task {task} cannot be read ({type(error).__name__}: "
            f"{error}). If it is damaged, run the job anew."
        ) from error


def save_logs(task: Task, attempt: int, process: CapturedProcess) -> None:
    """Keep the output and the ending of a task as Metaflow's own runtime does."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE

    datastore = task_datastore(task, attempt, "w")
    if process.returncode:
        # A process that died early has not announced its attempt, and the next one counts them.
        datastore.init_task()
    ending = {
        "return_code": process.returncode,
        "killed": process.returncode == -signal.SIGKILL,
        "success": not process.returncode,
    }
    datastore.save_metadata({"runtime": ending})
    streams = {"stdout": process.stdout.text(), "stderr": process.stderr.text()}
    datastore.save_logs(RUNTIME_LOG_SOURCE, streams)
