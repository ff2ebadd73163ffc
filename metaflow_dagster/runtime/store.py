"""Metaflow's datastore, as far as an op reads and writes it itself."""

import os
from typing import Any

from metaflow_dagster.runtime.command import SYSROOT, process_environment
from metaflow_dagster.runtime.process import CapturedProcess
from metaflow_dagster.runtime.settings import FLOW_NAME, METAFLOW_TOP_ARGS
from metaflow_dagster.runtime.tasks import Task


def datastore_root() -> tuple[Any, str]:
    """Metaflow's storage class for the datastore of this file, and its root."""
    from metaflow.plugins import DATASTORES

    options = dict(argument.split("=", 1) for argument in METAFLOW_TOP_ARGS if "=" in argument)
    storage = next(one for one in DATASTORES if options["--datastore"] == one.TYPE)
    if "--datastore-root" in options:
        return storage, options["--datastore-root"]
    return storage, os.path.join(process_environment({})[SYSROOT], ".metaflow")


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
    names = [f"{attempt}.attempt.json" for attempt in range(MAX_ATTEMPTS)]
    known = [datastore.has_metadata(name, add_attempt=False) for name in names]
    return known.index(False) if False in known else MAX_ATTEMPTS


def save_logs(task: Task, attempt: int, process: CapturedProcess) -> None:
    """Keep the output and the ending of a task as Metaflow's own runtime does."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE, mflog

    datastore = task_datastore(task, attempt, "w")
    if process.returncode:
        # A process that died early has not announced its attempt, and the next one counts them.
        datastore.init_task()
    ending = {"return_code": process.returncode, "killed": False, "success": not process.returncode}
    datastore.save_metadata({"runtime": ending})
    streams = {}
    for stream, path in (("stdout", process.stdout), ("stderr", process.stderr)):
        structured = path.with_suffix(".mflog")
        with open(path, "rb") as lines, open(structured, "wb") as file:
            file.writelines(mflog.decorate(RUNTIME_LOG_SOURCE, line) for line in lines)
        streams[stream] = structured
    datastore.save_logs(RUNTIME_LOG_SOURCE, streams)
