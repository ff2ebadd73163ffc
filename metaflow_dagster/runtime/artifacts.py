"""Artifacts as assets: materializations that say what a step has left."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dagster import AssetKey, MetadataValue, OpExecutionContext, Output

from metaflow_dagster.runtime.events import materialize
from metaflow_dagster.runtime.history import stored_attempt
from metaflow_dagster.runtime.results import client_lines, plain_type, public_artifacts
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import store_of
from metaflow_dagster.runtime.tasks import FinishedTask, parse_task

LONGEST_TEXT = 1000  # characters of an artifact that Dagster shows
LARGEST_VALUE = 10_000  # bytes of an artifact that is loaded to be shown or compared
PLAIN_TYPES = ("bool", "int", "float", "str")
NUMPY_TYPES = ("numpy.bool", "numpy.float", "numpy.int", "numpy.uint", "numpy.str")


class NoValue(Exception):
    """Why there is no value of an artifact to be shown or compared."""


def publish_artifacts(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: FinishedTask,
    keys: Mapping[str, Sequence[str]],
) -> None:
    """Materialize the assets that some artifacts of a task are, by name; log which it has not."""
    for name, metadata in described_artifacts(flow, context, task, keys):
        materialize(flow, context, AssetKey(list(keys[name])), metadata)


def artifact_outputs(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: FinishedTask,
    names: Mapping[str, str],
) -> Iterator[Output[None]]:
    """Outputs that materialize the assets that some artifacts of a task are, by output."""
    described = dict(described_artifacts(flow, context, task, [*names.values()]))
    for output, name in names.items():
        if name in described:
            yield Output(None, output, metadata=described[name])


def described_artifacts(
    flow: FlowSettings, context: OpExecutionContext, task: FinishedTask, names: Iterable[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What there is to say of some artifacts of a task; it is logged which it has not."""
    datastore = task_result(flow, task)
    for name in names:
        if name in datastore:
            place = place_metadata(flow, task.path, name)
            yield name, {**artifact_metadata(datastore, name), **place}
        else:
            left = ", ".join(public_artifacts(datastore)) or "none"
            context.log.warning(f"Task {task.path} has left no artifact {name}; it has {left}.")


def publish_items(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: FinishedTask,
    step: str,
    name: str,
    key: Sequence[str],
) -> None:
    """Materialize the asset that an artifact of all tasks of a step is, after they are joined."""
    if metadata := described_items(flow, task, step, name):
        materialize(flow, context, AssetKey(list(key)), metadata)


def items_output(
    flow: FlowSettings,
    _context: OpExecutionContext,
    task: FinishedTask,
    output: str,
    step: str,
    name: str,
) -> Iterator[Output[None]]:
    """The output that materializes the asset that an artifact of all tasks of a step is."""
    if metadata := described_items(flow, task, step, name):
        yield Output(None, output, metadata=metadata)


def described_items(
    flow: FlowSettings, task: FinishedTask, step: str, name: str
) -> Mapping[str, Any]:
    """What there is to say of an artifact of all tasks of a step; nothing if there is none."""
    path = f"{parse_task(task.path).run_id}/{step}"
    stored = store_of(flow).storage.list_content([f"{flow.name}/{path}"])
    items = sum(not entry.is_file for entry in stored)
    if not items:
        return {}
    return {"items": MetadataValue.int(items), **place_metadata(flow, path, name)}


def task_result(flow: FlowSettings, task: FinishedTask) -> Any:
    """Metaflow's datastore of the attempt by which a task has succeeded."""
    attempt = int(task.metadata["attempt"].value)
    return stored_attempt(flow, parse_task(task.path), attempt)


def artifact_metadata(datastore: Any, name: str) -> dict[str, Any]:
    """Type and size of an artifact, and its value if that is a number or a short text."""
    info = datastore.ds_metadata["info"][name]
    told = {"type": MetadataValue.text(plain_type(info)), "bytes": MetadataValue.int(info["size"])}
    try:
        return {**told, "value": value_metadata(plain_value(datastore, name))}
    except NoValue:
        return told


def value_metadata(value: Any) -> Any:
    """A value as Dagster shows it; it plots numbers over time."""
    match value:
        case bool():
            return MetadataValue.bool(value)
        case int() if abs(value) < 2**53:
            return MetadataValue.int(value)
        case float():
            return MetadataValue.float(value)
        case _:
            return MetadataValue.text(str(value)[:LONGEST_TEXT])


def plain_value(datastore: Any, name: str) -> Any:
    """An artifact that is a number, a text, a truth value or None; `NoValue` if it is none.

    Others are not loaded: that could run code of any module.
    """
    if name not in datastore:
        raise NoValue(f"there is no artifact {name}")
    info = datastore.ds_metadata["info"][name]
    kind = plain_type(info)
    if kind == "NoneType":
        return None
    if kind not in PLAIN_TYPES and not kind.startswith(NUMPY_TYPES):
        raise NoValue(f"{name} is of type {kind}, which is no number, text or truth value")
    if info["size"] > LARGEST_VALUE:
        raise NoValue(f"{name} takes {info['size']} bytes")
    try:
        value = datastore[name]
    except ImportError as error:
        raise NoValue(f"{name} cannot be loaded here ({error})") from error
    return value if kind in PLAIN_TYPES else value.item()


def place_metadata(flow: FlowSettings, path: str, name: str) -> dict[str, Any]:
    """Where an artifact is in Metaflow: of a task, or of all tasks of a step."""
    pathspec = f"{flow.name}/{path}"
    return {
        "pathspec": MetadataValue.text(pathspec),
        "retrieve": MetadataValue.md(f"```python\n{artifact_snippet(flow, pathspec, name)}\n```"),
    }


def artifact_snippet(flow: FlowSettings, pathspec: str, name: str) -> str:
    """Code that reads an artifact wherever it is pasted."""
    lines = client_lines(flow, "Step, Task")
    if pathspec.count("/") == 3:
        lines.append(f"Task({pathspec!r})[{name!r}].data")
    else:
        lines.append(f"[task[{name!r}].data for task in Step({pathspec!r})]")
    return "\n".join(lines)
