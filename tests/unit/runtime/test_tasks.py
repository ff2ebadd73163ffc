from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.runtime.tasks import (
    Task,
    index_path,
    metaflow_run_id,
    parse_task,
    repeatable_id,
)

indices = st.lists(st.integers(0, 99), max_size=3)


plain = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)


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
        pytest.param("params", (), id="parameters"),
        pytest.param("t1", (), id="outside any foreach"),
        pytest.param("t1-0", (0,), id="foreach"),
        pytest.param("t1-0-12", (0, 12), id="nested foreach"),
        pytest.param("t1-3-r2", (3,), id="repetition"),
        pytest.param("t1-r2", (), id="repetition outside"),
        pytest.param("t1-4_node_1", (4,), id="node of a parallel step"),
    ],
)
def test_index_path(task_id: str, path: tuple[int, ...]) -> None:
    assert index_path(f"run/step/{task_id}") == path


@given(indices, st.integers(0, 20))
def test_ids_hold_the_index_path(path: list[int], repetition: int) -> None:
    key = "_".join(map(str, path)) or None
    task_id = repeatable_id(key, repetition)
    assert index_path(f"run/step/{task_id}") == tuple(path)
    # Metaflow takes an integer for a task it knows, and compresses paths with these.
    assert not task_id.isdigit()
    assert not set(task_id) & set(",:!/")


@given(st.lists(st.tuples(indices, st.integers(0, 3)), unique_by=str))
def test_ids_are_distinct(tasks: list[tuple[list[int], int]]) -> None:
    ids = {repeatable_id("_".join(map(str, i)) or None, r) for i, r in tasks}
    assert len(ids) == len(tasks)


def test_run_id_depends_on_the_dagster_run_alone() -> None:
    one, other = metaflow_run_id("a"), metaflow_run_id("b")
    assert one == metaflow_run_id("a") == "dagster-86f7e437faa5"
    assert one != other
