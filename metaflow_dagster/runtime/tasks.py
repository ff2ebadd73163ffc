"""Tasks: their ids, which are the same in every attempt, and the paths that name them."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A Metaflow task; `str` gives the path that travels between ops."""

    run_id: str
    step: str
    id: str

    def __str__(self) -> str:
        return f"{self.run_id}/{self.step}/{self.id}"


@dataclass(frozen=True)
class FinishedTask:
    """A task that succeeded, and what the job has to know of it.

    `num_splits` is the number of items of its foreach, `target` the step a switch has chosen,
    `nodes` are the paths of the tasks of a parallel step, `metadata` is what Dagster shows.
    """

    path: str
    num_splits: int
    target: str
    nodes: list[str]
    metadata: dict[str, Any]


def parse_task(path: str) -> Task:
    """The task of a path: `parse_task(str(task)) == task`."""
    parts = str(path).split("/")
    if len(parts) != 3:
        raise ValueError(f"An op has got {path!r}, which is no path of a task. Run the job anew.")
    return Task(*parts)


def index_path(path: str) -> tuple[int, ...]:
    """The foreach indices of a task, outermost first, as its id holds them."""
    indices = re.match(r"t1((?:-\d+)*)", parse_task(path).id)
    return tuple(int(index) for index in (indices[1] if indices else "").split("-")[1:])


def metaflow_run_id(dagster_run_id: str) -> str:
    """The id of the Metaflow run that belongs to a Dagster run."""
    return f"dagster-{hashlib.sha1(dagster_run_id.encode()).hexdigest()[:12]}"


def repeatable_id(mapping_key: str | None, repetition: int) -> str:
    """A task id that is the same in every attempt: `t1`, or `t1-0-2` in item 2 of item 0.

    Metaflow takes an integer for the id of a task it has registered already, so it is none.
    """
    indices = mapping_key.split("_") if mapping_key else []
    return "-".join(["t1", *indices, *([f"r{repetition}"] if repetition else [])])
