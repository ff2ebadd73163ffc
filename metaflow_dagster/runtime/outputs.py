"""The outputs that an op gives to the ops after it, and how glue ops lead them on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagster import DynamicOutput, Output

from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.tasks import FinishedTask, index_path, parse_task


def task_output(task: FinishedTask) -> Output[str]:
    """The only output of an op."""
    return Output(task.path, metadata=task.metadata)


def split_outputs(task: FinishedTask, *names: str) -> Iterator[Output[str]]:
    """An output for each branch of a split; what there is to show goes with the first."""
    for name in names:
        yield Output(task.path, name, metadata=task.metadata if name == names[0] else None)


def switch_output(task: FinishedTask, names: Mapping[str, str]) -> Iterator[Output[str]]:
    """The output of the branch that a switch has chosen, given the outputs by step."""
    yield Output(task.path, names[task.target], metadata=task.metadata)


def foreach_outputs(task: FinishedTask) -> Iterator[DynamicOutput[str]]:
    """An output for each item of a foreach; what there is to show goes with the first."""
    for index, path in enumerate(foreach_items(task)):
        metadata = task.metadata if index == 0 else None
        yield DynamicOutput(path, mapping_key=str(index), metadata=metadata)


def foreach_list(task: FinishedTask) -> Output[list[str]]:
    """The path of a task once for each item of its foreach, for another op to fan out."""
    return Output(foreach_items(task), metadata=task.metadata)


def foreach_items(task: FinishedTask) -> list[str]:
    """The path of a task once for each item of its foreach."""
    if not task.num_splits:
        raise final_failure(
            f"Step {parse_task(task.path).step} uses an unbounded foreach, which is not supported: "
            "the number of its items is not known when it ends."
        )
    return [task.path] * task.num_splits


def nodes_output(task: FinishedTask) -> Output[list[str]]:
    """The paths of the tasks of all nodes of a parallel step."""
    return Output(task.nodes, metadata=task.metadata)


def flat(paths: Sequence[Any]) -> list[str]:
    """The task paths in nested lists, in the order of their foreach indices."""
    if not paths or isinstance(paths[0], str):
        return sorted(paths, key=index_path)
    return flat([path for inner in paths for path in inner])


def fanned_out(paths: Sequence[Any]) -> Iterator[DynamicOutput[str]]:
    """An output for each item of foreaches, given each task once for each of its items."""
    items: dict[str, int] = {}
    for path in flat(paths):
        items[path] = items.get(path, -1) + 1
        key = "_".join(map(str, (*index_path(path), items[path])))
        yield DynamicOutput(path, mapping_key=key)


def regrouped(paths: Sequence[Any], depth: int) -> Iterator[DynamicOutput[list[str]]]:
    """An output for each of the outer `depth` foreach indices, with all the paths it has."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for path in flat(paths):
        groups.setdefault(index_path(path)[:depth], []).append(path)
    for indices, group in groups.items():
        yield DynamicOutput(group, mapping_key="_".join(map(str, indices)))
