from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.runtime.tasks import (
    CONTROL_PART,
    PARAMETERS_ID,
    Task,
    earlier_id,
    index_path,
    metaflow_run_id,
    parse_task,
    repeatable_id,
)

indices = st.lists(st.integers(0, 99), max_size=3)


plain = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
parts = st.sampled_from(["", "r1", "r20", CONTROL_PART])
# Names that look like ids, or like what is added to them.
names = plain | st.sampled_from(["a", "a_node_1", "a_0", "control", "a_control", "r1", "t1", "run"])


@pytest.mark.parametrize("path", ["", "run/step", "run/step/task/more"])
def test_no_task(path: str) -> None:
    with pytest.raises(ValueError, match="no path of a task"):
        parse_task(path)


@given(plain, plain, plain)
def test_task_survives_its_text(run_id: str, step: str, task_id: str) -> None:
    task = Task(run_id, step, task_id)
    assert parse_task(str(task)) == task


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        pytest.param("run-parameters", (), id="parameters"),
        pytest.param("fit", (), id="outside any foreach"),
        pytest.param("fit-0", (0,), id="foreach"),
        pytest.param("fit_2-0-12", (0, 12), id="nested foreach"),
        pytest.param("fit-3-r2", (3,), id="repetition"),
        pytest.param("fit-r2", (), id="repetition outside"),
        pytest.param("fit-4-control", (4,), id="parallel step"),
        pytest.param("fit-4-control_node_1", (4,), id="node of a parallel step"),
        pytest.param("fit-4-control-worker-1", (4,), id="node on Kubernetes"),
        pytest.param("fit-control-node-1", (), id="node on Batch"),
        pytest.param("params", (), id="parameters as they were"),
        pytest.param("t1-0-12", (0, 12), id="id as it was"),
        pytest.param("t1-4_node_1", (4,), id="node as it was"),
    ],
)
def test_index_path(task_id: str, path: tuple[int, ...]) -> None:
    assert index_path(f"run/step/{task_id}") == path


@given(plain, indices, parts)
def test_ids_hold_the_index_path(step: str, path: list[int], part: str) -> None:
    key = "_".join(map(str, path)) or None
    task_id = repeatable_id(step, key, part)
    assert index_path(f"run/step/{task_id}") == tuple(path)
    assert index_path(f"run/step/{earlier_id(key, part)}") == tuple(path)
    # Metaflow takes an integer for a task it knows, and compresses paths with these.
    assert not task_id.isdigit()
    assert not set(task_id) & set(",:!/")


@given(st.lists(st.tuples(names, indices, parts), unique_by=str))
def test_ids_are_distinct(tasks: list[tuple[str, list[int], str]]) -> None:
    ids = [PARAMETERS_ID]
    for step, path, part in tasks:
        ids.append(repeatable_id(step, "_".join(map(str, path)) or None, part))
        if part == CONTROL_PART:
            ids += [f"{ids[-1]}_node_{index}" for index in range(1, 3)]
    assert len(set(ids)) == len(ids)


def test_run_id_depends_on_the_dagster_run_alone() -> None:
    one, other = metaflow_run_id("a"), metaflow_run_id("b")
    assert one == metaflow_run_id("a") == "dagster-86f7e437faa5"
    assert one != other
