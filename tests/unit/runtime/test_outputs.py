from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from dagster import Failure
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.runtime.outputs import (
    fanned_out,
    flat,
    foreach_list,
    foreach_outputs,
    nodes_output,
    regrouped,
    split_outputs,
    switch_output,
    task_output,
)
from metaflow_dagster.runtime.tasks import FinishedTask, index_path, repeatable_id


def task_path(index_path: Sequence[int], step: str = "step") -> str:
    key = "_".join(map(str, index_path)) or None
    return f"run/{step}/{repeatable_id(step, key)}"


@pytest.mark.parametrize(
    ("paths", "result"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([[], []], [], id="empty lists"),
        pytest.param(["r/a/a-10", "r/a/a-9"], ["r/a/a-9", "r/a/a-10"], id="by number"),
        pytest.param([["r/a/a-1"], ["r/b/b-0"]], ["r/b/b-0", "r/a/a-1"], id="several lists"),
        pytest.param([[["r/a/a-0-1"]], [["r/a/a-0-0"]]], ["r/a/a-0-0", "r/a/a-0-1"], id="deep"),
        pytest.param(["r/b/b", "r/a/a"], ["r/b/b", "r/a/a"], id="order is kept otherwise"),
    ],
)
def test_flat(paths: list[Any], result: list[str]) -> None:
    assert flat(paths) == result


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), unique_by=lambda one: one[0]))
def test_items_fanned_out_are_numbered_by_task(tasks: list[tuple[int, int]]) -> None:
    lists = [[task_path([outer])] * count for outer, count in tasks]
    expected = {f"{outer}_{inner}" for outer, count in tasks for inner in range(count)}
    for paths in (lists, [lists], [path for each in lists for path in each]):
        outputs = list(fanned_out(paths))
        assert {output.mapping_key for output in outputs} == expected
        assert len(outputs) == len(expected)
        assert all(
            output.value == task_path([int(output.mapping_key.split("_")[0])]) for output in outputs
        )


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), unique=True), st.integers(1, 2))
def test_regrouped_by_outer_indices(paths: list[tuple[int, int, int]], depth: int) -> None:
    groups = {
        each.mapping_key: each.value
        for each in regrouped([[task_path(path) for path in paths]], depth)
    }
    assert sorted(path for group in groups.values() for path in group) == sorted(
        map(task_path, paths)
    )
    for key, group in groups.items():
        outer = tuple(map(int, key.split("_")))
        assert len(outer) == depth
        assert {index_path(path)[:depth] for path in group} == {outer}
        assert group == sorted(group, key=index_path)


def finished(**values: Any) -> FinishedTask:
    return FinishedTask(
        **{"path": "r/s/s", "num_splits": 0, "target": "", "nodes": []}
        | values
        | {"metadata": {"n": 1}}
    )


def test_unbounded_foreach_is_refused() -> None:
    with pytest.raises(Failure, match="unbounded foreach") as raised:
        foreach_list(finished())
    assert raised.value.allow_retries is False


def test_outputs() -> None:
    assert task_output(finished()).value == "r/s/s"
    assert foreach_list(finished(num_splits=2)).value == ["r/s/s", "r/s/s"]
    assert nodes_output(finished(nodes=["r/s/s", "x"])).value == ["r/s/s", "x"]
    (chosen,) = switch_output(finished(target="b"), {"a": "to_a", "b": "to_b"})
    assert (chosen.output_name, chosen.value) == ("to_b", "r/s/s")


def test_metadata_goes_with_the_first_output_only() -> None:
    split = list(split_outputs(finished(), "a", "b"))
    assert [(each.output_name, bool(each.metadata)) for each in split] == [
        ("a", True),
        ("b", False),
    ]
    items = list(foreach_outputs(finished(num_splits=2)))
    assert [(item.mapping_key, bool(item.metadata)) for item in items] == [
        ("0", True),
        ("1", False),
    ]
