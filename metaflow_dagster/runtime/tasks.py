"""Tasks: their ids, which are the same in every attempt, and the paths that name them."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

PARAMETERS_STEP = "_parameters"  # Metaflow's own task that holds the parameters of a run
PARAMETERS_ID = "run-parameters"
EARLIER_PARAMETERS_ID = "params"  # in runs of files compiled earlier
CONTROL_PART = "control"  # of the id of the task that starts the others of a parallel step


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
    indices = re.match(r"[^-]+((?:-\d+)*)", parse_task(path).id)
    return tuple(int(index) for index in (indices[1] if indices else "").split("-")[1:])


def metaflow_run_id(dagster_run_id: str) -> str:
    """The id of the Metaflow run that belongs to a Dagster run."""
    return f"dagster-{hashlib.sha1(dagster_run_id.encode()).hexdigest()[:12]}"


def repeatable_id(step: str, mapping_key: str | None, part: str = "") -> str:
    """A task id that no other task of the run has, and that is the same in every attempt.

    `fit`, `fit-0-2` in item 2 of item 0, and after that the `part` of a step that has several
    tasks: `loop-r3`, `work-control`. The name of a step has no dash, so no two ids can be equal,
    nor is any an integer, which Metaflow takes for the id of a task it has registered already.
    """
    return joined_id(step, mapping_key, part)


def earlier_id(mapping_key: str | None, part: str = "") -> str:
    """The id that files compiled earlier gave the task, which was not unique in its run."""
    return joined_id("t1", mapping_key, "" if part == CONTROL_PART else part)


def joined_id(first: str, mapping_key: str | None, part: str) -> str:
    """The parts of a task id, with dashes between them."""
    indices = mapping_key.split("_") if mapping_key else []
    return "-".join([first, *indices, *([part] if part else [])])
