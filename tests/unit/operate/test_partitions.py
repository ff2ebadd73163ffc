"""Which partitions a user means, and what has become of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.operate.backfill import BackfillState
from metaflow_dagster.operate.errors import RunNotStarted
from metaflow_dagster.operate.partitions import (
    JobPartitions,
    PartitionDimension,
    latest_runs,
    selected,
)
from metaflow_dagster.operate.runs import DagsterRun

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]
DAY = PartitionDimension("day", DAYS)
AREA = PartitionDimension("area", ["north", "south"], "areas")
ONE = JobPartitions("Sales", [DAY])
TWO = JobPartitions("Sales", [DAY, AREA])  # in a key, `area` comes first
NONE = JobPartitions("Sales", [])


def run(key: str, status: str, number: int = 0) -> DagsterRun:
    return DagsterRun(f"{key}-{number}", "Sales", status, {"dagster/partition": key}, {})


def test_keys_are_in_order() -> None:
    assert ONE.keys() == DAYS
    assert TWO.keys()[:4] == [
        "north|2026-01-01",
        "north|2026-01-02",
        "north|2026-01-03",
        "south|2026-01-01",
    ]
    assert NONE.keys() == []


def test_tags_are_those_that_dagster_gives() -> None:
    assert ONE.tags("2026-01-01") == {
        "dagster/partition": "2026-01-01",
        "dagster/partition_set": "Sales_partition_set",
    }
    assert TWO.tags("north|2026-01-01") == {
        "dagster/partition": "north|2026-01-01",
        "dagster/partition_set": "Sales_partition_set",
        "dagster/partition/area": "north",
        "dagster/partition/day": "2026-01-01",
    }


@pytest.mark.parametrize(
    ("partitions", "key", "new"),
    [
        (ONE, "2026-01-01", []),
        (TWO, "north|2026-01-01", []),
        (TWO, "west|2026-01-01", [("areas", "west")]),
    ],
)
def test_new_keys(partitions: JobPartitions, key: str, new: list[tuple[str, str]]) -> None:
    assert [*partitions.new_keys(key)] == new


@pytest.mark.parametrize(
    ("partitions", "key", "said"),
    [
        (ONE, "2026-01-09", "no partition '2026-01-09'; 2026-01-01, 2026-01-02, 2026-01-03"),
        (TWO, "2026-01-01", "the last of 6 are"),
        (TWO, "north|1", "no partition"),
        (TWO, " |2026-01-01", "no partition"),
        (TWO, "north|2026-01-01|x", "no partition"),
        (NONE, "2026-01-01", "have no partitions. Compile the flow with --partition"),
    ],
)
def test_unknown_keys(partitions: JobPartitions, key: str, said: str) -> None:
    with pytest.raises(RunNotStarted) as raised:
        list(partitions.new_keys(key))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("partitions", "first", "last", "keys"),
    [
        (ONE, "2026-01-02", "2026-01-03", DAYS[1:]),
        (ONE, "2026-01-03", "2026-01-02", []),
        (TWO, "north|2026-01-03", "south|2026-01-01", ["north|2026-01-03", "south|2026-01-01"]),
        (
            TWO,
            "2026-01-02",
            "2026-01-03",
            ["north|2026-01-02", "north|2026-01-03", "south|2026-01-02", "south|2026-01-03"],
        ),
        (TWO, "south", "south", [f"south|{day}" for day in DAYS]),
    ],
)
def test_between(partitions: JobPartitions, first: str, last: str, keys: list[str]) -> None:
    assert partitions.between(first, last) == keys


def test_between_keys_that_are_not_there() -> None:
    with pytest.raises(RunNotStarted, match="no partition '2025-01-01'"):
        ONE.between("2025-01-01", "2026-01-01")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(DAYS), st.sampled_from(["SUCCESS", "FAILURE", "CANCELED", "STARTED"])
        )
    )
)
def test_selected_by_the_latest_run(history: list[tuple[str, str]]) -> None:
    runs = [run(key, status, number) for number, (key, status) in enumerate(history)]
    latest: dict[str, str] = {}
    for key, status in history:  # the latest first
        latest.setdefault(key, status)
    missing = [key for key in DAYS if key not in latest]
    failed = [key for key in DAYS if latest.get(key) in ("FAILURE", "CANCELED")]
    assert selected(ONE, runs, missing=True, failed=False) == missing
    assert selected(ONE, runs, missing=False, failed=True) == failed
    assert selected(ONE, runs, missing=True, failed=True) == sorted(missing + failed)


def test_no_more_runs_are_asked_for_than_are_needed() -> None:
    def runs() -> Iterator[DagsterRun]:
        for key in DAYS:
            yield run(key, "SUCCESS")
        raise AssertionError("all partitions are known")

    assert [*latest_runs(runs(), DAYS)] == DAYS


def test_progress_in_words() -> None:
    runs = {"a": run("a", "SUCCESS"), "b": run("b", "FAILURE"), "c": run("c", "STARTED")}
    state = BackfillState(["a", "b", "c", "d"], runs, is_finished=False)
    assert state.line() == "1 of 4 partitions have succeeded, 1 failed, 1 running, 1 waiting"
    assert [key for key, _ in state.failed()] == ["b"]
