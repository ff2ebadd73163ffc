"""What a task that succeeded has left, for the job and for whoever looks at it."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from dagster import Failure, MetadataValue, TableColumn, TableRecord, TableSchema

from metaflow_dagster.runtime.command import local_sysroot
from metaflow_dagster.runtime.settings import FLOW_NAME, METAFLOW_TOP_ARGS
from metaflow_dagster.runtime.store import completed_datastore
from metaflow_dagster.runtime.tasks import FinishedTask, Task

RESULT_ARTIFACTS = ("_foreach_num_splits", "_transition", "_control_mapper_tasks")


def finished_task(task: Task, attempt: int, command: Sequence[str] = ()) -> FinishedTask:
    """Read from the datastore what a task has left there; `command` is what has run it just now."""
    datastore = completed_datastore(task, attempt)
    if datastore is None:
        raise no_result(task)
    left = dict(datastore.load_artifacts([one for one in RESULT_ARTIFACTS if one in datastore]))
    num_splits = left.get("_foreach_num_splits") or 0
    metadata: dict[str, Any] = {
        "pathspec": MetadataValue.text(f"{FLOW_NAME}/{task}"),
        "attempt": MetadataValue.int(attempt),
        "artifacts": artifact_table(datastore),
        "retrieve": MetadataValue.md(f"```python\n{retrieval_snippet(task, datastore)}\n```"),
    }
    if command:
        metadata["command"] = MetadataValue.md(f"```sh\n{shlex.join(command)}\n```")
    if num_splits:
        metadata["foreach items"] = MetadataValue.int(num_splits)
    return FinishedTask(
        path=str(task),
        num_splits=num_splits,
        target=chosen_step(left.get("_transition")),
        nodes=left.get("_control_mapper_tasks") or [],
        metadata=metadata,
    )


def no_result(task: Task) -> Failure:
    """What Dagster shows of a process that ended well, but not by way of Metaflow."""
    return Failure(
        f"Step {task.step} has ended its process, with exit code 0, before Metaflow could finish "
        "the task. Let the step return instead of calling sys.exit or os._exit.",
        allow_retries=False,
    )


def chosen_step(transition: Any) -> str:
    """The first step of a transition, which Metaflow stores as `(["step"], None)`."""
    return str(transition[0][0]) if transition and transition[0] else ""


def public_artifacts(datastore: Any) -> list[str]:
    """The names of a task's artifacts that are the user's own, not Metaflow's."""
    names = sorted(datastore.ds_metadata["objects"])
    return [name for name in names if not name.startswith("_") and name != "name"]


def artifact_table(datastore: Any) -> Any:
    """Name, type and size of a task's artifacts, without loading them."""
    info = datastore.ds_metadata["info"]
    return MetadataValue.table(
        [
            TableRecord(
                {
                    "name": name,
                    "type": re.sub(r"<class '(?:builtins\.)?(.*)'>", r"\1", info[name]["type"]),
                    "bytes": info[name]["size"],
                }
            )
            for name in public_artifacts(datastore)
        ],
        TableSchema([TableColumn("name"), TableColumn("type"), TableColumn("bytes", type="int")]),
    )


def retrieval_snippet(task: Task, datastore: Any) -> str:
    """Code that reads the task's artifacts wherever it is pasted."""
    lines = ["from metaflow import Task, metadata, namespace", "", "namespace(None)"]
    if "--metadata=local" in METAFLOW_TOP_ARGS:
        lines.append(f"metadata({'local@' + local_sysroot()!r})")
    lines.append(f"task = Task({f'{FLOW_NAME}/{task}'!r})")
    lines += [f"task[{name!r}].data" for name in public_artifacts(datastore)]
    return "\n".join(lines)
