"""The results of a task that succeeded, for the job and for whoever looks at it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dagster import (
    Failure,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableRecord,
    TableSchema,
)

from metaflow_dagster.internals.metaflow import MetaflowArtifacts
from metaflow_dagster.runtime.failures import final_failure, readable
from metaflow_dagster.runtime.history import stored_attempt
from metaflow_dagster.runtime.process import CapturedProcess
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import local_sysroot
from metaflow_dagster.runtime.tasks import FinishedTask, Task, parse_task

UNORDERED = {  # types that a foreach should not go over, and what makes a list of them
    **dict.fromkeys(("set", "frozenset"), "sorted"),
    **dict.fromkeys(("dict", "collections.Counter", "collections.OrderedDict"), "list"),
    **dict.fromkeys(("collections.defaultdict", "map", "filter", "zip", "enumerate"), "list"),
    **dict.fromkeys(("reversed", "list_iterator", "tuple_iterator", "range_iterator"), "list"),
    **dict.fromkeys(("set_iterator", "str_iterator", "itertools.chain"), "list"),
}


def finished_task(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: Task,
    attempt: int,
    execution: Mapping[str, Any] | None = None,
) -> FinishedTask:
    """Read from the datastore what a task has left there.

    `execution` is what Dagster shows of how it was run, if it was run just now.
    """
    datastore = stored_attempt(flow, task, attempt)
    if datastore is None:
        raise no_result(task)
    with readable(task):
        # Not all are set where the step has ended the process before Metaflow's task was over.
        names = [name for name in MetaflowArtifacts.of_results if name in datastore]
        left = dict(datastore.load_artifacts(names))
    chosen = next_steps(left.get(MetaflowArtifacts.transition))
    if left.get(MetaflowArtifacts.is_finished):
        refuse_other_steps(flow, task, chosen)
    elif chosen in flow.next_steps.get(task.step, [chosen]):
        context.log.warning(early_exit(task))
    else:
        raise no_transition(task)
    num_splits = left.get(MetaflowArtifacts.splits) or 0
    metadata: dict[str, Any] = {
        **task_metadata(flow, task, attempt),
        **(execution or {}),
        "artifacts": artifact_table(datastore),
        "retrieve": MetadataValue.md(f"```python\n{retrieval_snippet(flow, task, datastore)}\n```"),
    }
    if flow.cards:
        metadata.update(flow.cards.links(flow, task))
    warning = unordered_foreach(task, datastore, left.get(MetaflowArtifacts.foreach_variable))
    if warning:
        context.log.warning(warning)
    if num_splits:
        metadata["foreach items"] = MetadataValue.int(num_splits)
    return FinishedTask(
        path=str(task),
        num_splits=num_splits,
        target=chosen[0] if chosen else "",
        nodes=own_nodes(task, left.get(MetaflowArtifacts.control_tasks) or []),
        metadata=metadata,
    )


def unordered_foreach(task: Task, datastore: Any, artifact: str | None) -> str | None:
    """A warning if the tasks of a foreach may not get each item once, by the type it goes over.

    Each task goes over the artifact anew, or takes from it by number.
    """
    kind = datastore.ds_metadata["info"].get(artifact, {}).get("type", "")
    remedy = UNORDERED.get(re.sub(r"<class '(.*)'>", r"\1", kind))
    if remedy is None:
        return None
    return (
        f"The foreach of {task} goes over self.{artifact}, {kind}: its tasks may get "
        f"items twice or not at all. Let it go over {remedy}(...) instead."
    )


def own_nodes(task: Task, paths: Sequence[str]) -> list[str]:
    """The tasks of all nodes of a parallel step; a clone holds the paths of its origin's."""
    return [str(replace(parse_task(path), run_id=task.run_id)) for path in paths]


def task_metadata(flow: FlowSettings, task: Task, attempt: int) -> dict[str, Any]:
    """Which task this is, and where Metaflow's UI shows it."""
    pathspec = f"{flow.name}/{task}"
    address = ui_address()
    return {
        "pathspec": MetadataValue.text(pathspec),
        "attempt": MetadataValue.int(attempt),
        **({"Metaflow UI": MetadataValue.url(f"{address}/{pathspec}")} if address else {}),
    }


def ui_address() -> str | None:
    """Where Metaflow's UI is, if that is configured; not if there could be a password in it."""
    from metaflow.metaflow_config import UI_URL

    return UI_URL.rstrip("/") if UI_URL and not set("@?=") & set(UI_URL) else None


def execution_metadata(command: Sequence[str], process: CapturedProcess) -> dict[str, Any]:
    """How a process was run, and how long it took."""
    return {
        "seconds": MetadataValue.float(round(process.seconds, 2)),
        "command": MetadataValue.md(f"```sh\n{shlex.join(command)}\n```"),
    }


def no_result(task: Task) -> Failure:
    """The failure of a step whose process exited with 0 before Metaflow stored the task."""
    return final_failure(
        f"Step {task.step} has ended its process, with exit code 0, before Metaflow could store "
        "the task. Let the step return instead of calling os._exit."
    )


def no_transition(task: Task) -> Failure:
    """The failure of a step whose process exited with 0 before `self.next`."""
    return final_failure(
        f"Step {task.step} has ended its process, with exit code 0, before it called self.next. "
        "Let the step return instead of calling sys.exit."
    )


def early_exit(task: Task) -> str:
    """The warning of a step that exited with 0 after `self.next`, whose run goes on natively."""
    return (
        f"Step {task.step} has ended its process by sys.exit(0). The run goes on with what it has "
        "stored, but Metaflow does not count the task as finished: a resumed run runs it again. "
        "Let the step return instead."
    )


def next_steps(transition: Any) -> list[str]:
    """The steps of a transition, which Metaflow stores as `(["step"], None)`."""
    return list(transition[0]) if transition and transition[0] else []


def refuse_other_steps(flow: FlowSettings, task: Task, steps: Sequence[str]) -> None:
    """Fail where a task goes on in another way than the job, which would leave a step out."""
    ways = flow.next_steps.get(task.step, [steps])
    if steps in ways:
        return
    compiled = " or ".join(map(named_steps, ways))
    raise final_failure(
        f"Step {task.step} goes on to {named_steps(steps)}, but when this job was compiled to "
        f"{compiled}: the flow has changed since. Compile it anew, and resume the run; that makes "
        f"a new run, in which what has finished is not run again: "
        f"dagster resume --run-id {task.run_id}"
    )


def named_steps(steps: Sequence[str]) -> str:
    """Some steps, in words."""
    return " and ".join(steps) or "no step"


def public_artifacts(datastore: Any) -> list[str]:
    """The names of a task's artifacts that are the user's own, not Metaflow's."""
    names = sorted(datastore.ds_metadata["objects"])
    return [name for name in names if not name.startswith("_") and name != "name"]


def plain_type(info: Mapping[str, Any]) -> str:
    """The type of an artifact, of what the datastore says of it."""
    return re.sub(r"<class '(?:builtins\.)?(.*)'>", r"\1", info["type"])


def artifact_table(datastore: Any) -> Any:
    """Name, type and size of a task's artifacts, without loading them."""
    info = datastore.ds_metadata["info"]
    return MetadataValue.table(
        [
            TableRecord(
                {
                    "name": name,
                    "type": plain_type(info[name]),
                    "bytes": info[name]["size"],
                }
            )
            for name in public_artifacts(datastore)
        ],
        TableSchema([TableColumn("name"), TableColumn("type"), TableColumn("bytes", type="int")]),
    )


def retrieval_snippet(flow: FlowSettings, task: Task, datastore: Any) -> str:
    """Code that reads the task's artifacts wherever it is pasted."""
    lines = client_lines(flow, "Task")
    lines.append(f"task = Task({f'{flow.name}/{task}'!r})")
    lines += [f"task[{name!r}].data" for name in public_artifacts(datastore)]
    return "\n".join(lines)


def client_lines(flow: FlowSettings, classes: str) -> list[str]:
    """Code that lets Metaflow's client find the flow's runs, with some of its classes."""
    lines = [f"from metaflow import {classes}, metadata, namespace", "", "namespace(None)"]
    if flow.variables:
        lines = ["import os", "", f"os.environ.update({dict(flow.variables)!r})", *lines]
    if provider := metadata_provider(flow):
        lines.append(f"metadata({provider!r})")
    return lines


def metadata_provider(flow: FlowSettings) -> str | None:
    """The argument of Metaflow's `metadata` to find the runs; None for that of its settings."""
    if flow.metadata == "local":
        return f"local@{local_sysroot(flow)}"
    # Not from the environment, where it is if there is a password in it.
    service = flow.variables.get("METAFLOW_SERVICE_URL")
    return f"service@{service}" if service and flow.metadata == "service" else None
