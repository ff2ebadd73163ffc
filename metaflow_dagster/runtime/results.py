"""What a task that succeeded has left, for the job and for whoever looks at it."""

import os
import re
import shlex
import sys
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

from metaflow_dagster.runtime.command import flow_file, local_sysroot
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.process import CapturedProcess
from metaflow_dagster.runtime.settings import (
    FLOW_NAME,
    METAFLOW_STEP_ENV,
    METAFLOW_TOP_ARGS,
    NEXT_STEPS,
    STEPS_WITH_CARDS,
)
from metaflow_dagster.runtime.store import datastore_root, readable, stored_attempt
from metaflow_dagster.runtime.tasks import FinishedTask, Task, parse_task

CARD_DIRECTORY = "mf.cards"  # metaflow.metaflow_config.CARD_SUFFIX
UNORDERED = {  # types that a foreach should not go over, and what makes a list of them
    **dict.fromkeys(("set", "frozenset"), "sorted"),
    **dict.fromkeys(("dict", "collections.Counter", "collections.OrderedDict"), "list"),
    **dict.fromkeys(("collections.defaultdict", "map", "filter", "zip", "enumerate"), "list"),
    **dict.fromkeys(("reversed", "list_iterator", "tuple_iterator", "range_iterator"), "list"),
    **dict.fromkeys(("set_iterator", "str_iterator", "itertools.chain"), "list"),
}
RESULT_ARTIFACTS = (
    "_control_mapper_tasks",
    "_foreach_num_splits",
    "_foreach_var",
    "_task_ok",  # not set where the step has ended the process before Metaflow's task was over
    "_transition",
)


def finished_task(
    context: OpExecutionContext,
    task: Task,
    attempt: int,
    execution: Mapping[str, Any] | None = None,
) -> FinishedTask:
    """Read from the datastore what a task has left there.

    `execution` is what Dagster shows of how it was run, if it was run just now.
    """
    datastore = stored_attempt(task, attempt)
    if datastore is None:
        raise no_result(task)
    with readable(task):
        left = dict(datastore.load_artifacts([one for one in RESULT_ARTIFACTS if one in datastore]))
    chosen = next_steps(left.get("_transition"))
    if left.get("_task_ok"):
        refuse_other_steps(task, chosen)
    elif chosen in NEXT_STEPS.get(task.step, [chosen]):
        context.log.warning(early_exit(task))
    else:
        raise no_transition(task)
    num_splits = left.get("_foreach_num_splits") or 0
    metadata: dict[str, Any] = {
        **task_metadata(task, attempt),
        **(execution or {}),
        "artifacts": artifact_table(datastore),
        "retrieve": MetadataValue.md(f"```python\n{retrieval_snippet(task, datastore)}\n```"),
    }
    if task.step in STEPS_WITH_CARDS:
        metadata.update(card_links(task))
    warning = unordered_foreach(task, datastore, left.get("_foreach_var"))
    if warning:
        context.log.warning(warning)
    if num_splits:
        metadata["foreach items"] = MetadataValue.int(num_splits)
    return FinishedTask(
        path=str(task),
        num_splits=num_splits,
        target=chosen[0] if chosen else "",
        nodes=own_nodes(task, left.get("_control_mapper_tasks") or []),
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


def task_metadata(task: Task, attempt: int) -> dict[str, Any]:
    """Which task this is, and where Metaflow's UI shows it."""
    pathspec = f"{FLOW_NAME}/{task}"
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


def card_links(task: Task) -> dict[str, Any]:
    """Where the cards of a task are, and the command that opens them in a browser."""
    from metaflow.datastore import FlowDataStore
    from metaflow.plugins.cards.card_datastore import CardDatastore
    from metaflow.plugins.cards.exception import CardNotPresentException

    storage, root = datastore_root()
    if storage.TYPE == "local":
        card_root = os.path.join(root, CARD_DIRECTORY)
    else:
        card_root = CardDatastore.get_storage_root(storage.TYPE)
    stored = FlowDataStore(FLOW_NAME, None, storage_impl=storage, ds_root=card_root)
    cards = CardDatastore(stored, pathspec=f"{FLOW_NAME}/{task}")
    try:
        paths = cards.extract_card_paths()
    except CardNotPresentException:
        return {}
    command = shlex.join([sys.executable, flow_file(), "card", "view", str(task)])
    return {
        **{f"card {card_name(path)}": card_link(cards.create_full_path(path)) for path in paths},
        "view cards": MetadataValue.text(command),
    }


def card_name(path: str) -> str:
    """The type of a card and its id, if it has one, which its file is named by."""
    return os.path.basename(path).rpartition("-")[0]


def card_link(location: str) -> Any:
    """A file, or the address of an object in a store."""
    return MetadataValue.url(location) if "://" in location else MetadataValue.path(location)


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


def refuse_other_steps(task: Task, steps: Sequence[str]) -> None:
    """Fail where a task goes on in another way than the job, which would leave a step out.

    `NEXT_STEPS` has, for each step, all ways in which it may go on: a switch has several.
    """
    ways = NEXT_STEPS.get(task.step, [steps])
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
    if METAFLOW_STEP_ENV:
        lines = ["import os", "", f"os.environ.update({METAFLOW_STEP_ENV!r})", *lines]
    if provider := metadata_provider():
        lines.append(f"metadata({provider!r})")
    lines.append(f"task = Task({f'{FLOW_NAME}/{task}'!r})")
    lines += [f"task[{name!r}].data" for name in public_artifacts(datastore)]
    return "\n".join(lines)


def metadata_provider() -> str | None:
    """What Metaflow's `metadata` takes to find the runs; None for what its settings say."""
    if "--metadata=local" in METAFLOW_TOP_ARGS:
        return f"local@{local_sysroot()}"
    # Not from the environment, where it is if there is a password in it.
    service = METAFLOW_STEP_ENV.get("METAFLOW_SERVICE_URL")
    return f"service@{service}" if service and "--metadata=service" in METAFLOW_TOP_ARGS else None
