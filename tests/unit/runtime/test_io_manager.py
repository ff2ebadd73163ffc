"""What ops pass to each other is kept in Metaflow's datastore."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    Failure,
    IOManager,
    build_init_resource_context,
    build_input_context,
    build_output_context,
)
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.runtime.io_manager import DatastoreIOManager, datastore_io_manager
from metaflow_dagster.runtime.settings import OUTPUTS
from tests.unit.samples import settings_of

PATH = "dagster-1/start/start"
VALUES = [PATH, "", "ü ✓\n\0", [], [PATH, "dagster-1/start/t2"], None, True, 0, -1.5, {"a": [None]}]


class LocalStore:
    """The local datastore of a flow in a directory, with all that is stored there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.flow = settings_of(datastore_root=str(root))

    def texts(self) -> Mapping[str, str]:
        """What is stored, by path."""
        files = (file for file in self.root.rglob("*") if file.is_file())
        return {str(each.relative_to(self.root)): each.read_text("utf-8") for each in files}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Meanwhile nothing can be loaded, and nothing may be stored."""
        elsewhere = self.root.rename(self.root.with_name("elsewhere"))
        yield
        assert not self.root.exists()
        elsewhere.rename(self.root)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(tmp_path / "store")
    made.root.mkdir()
    return made


def put(
    manager: IOManager, value: Any, key: str | None = None, run_id: str = "run", step: str = "op_a"
) -> None:
    """Store an output as Dagster does."""
    place: Any = Place(run_id, step, key)
    manager.handle_output(place, value)


@dataclass(frozen=True)
class Place:
    """An output as an I/O manager sees it: those contexts of Dagster's make a whole instance."""

    run_id: str
    step_key: str
    mapping_key: str | None

    def get_identifier(self) -> Sequence[str]:
        """What names the output."""
        return [*(self.run_id, self.step_key, "out"), *filter(None, [self.mapping_key])]


def got(manager: IOManager, key: str | None = None, run_id: str = "run", step: str = "op_a") -> Any:
    """Load an output as Dagster does for an input."""
    place: Any = Place(run_id, step, key)
    return manager.load_input(place)


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "0_1"])
def test_place_is_as_in_dagster(key: str | None) -> None:
    with build_output_context(run_id="run", step_key="op_a", name="out", mapping_key=key) as output:
        assert output.get_identifier() == Place("run", "op_a", key).get_identifier()
        with build_input_context(upstream_output=output) as upstream:
            assert upstream.get_identifier() == output.get_identifier()


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_value_is_had_again(store: LocalStore, value: Any) -> None:
    manager = DatastoreIOManager(store.flow)
    put(manager, value)
    with store.away():
        assert got(manager) == value
    again = got(DatastoreIOManager(store.flow))
    assert (again, type(again)) == (value, type(value))
    assert store.texts() == {f"{OUTPUTS}/run/op_a/out": json.dumps(value)}


def test_run_has_a_manager_of_its_own(store: LocalStore) -> None:
    make = datastore_io_manager(store.flow).resource_fn
    managers: list[Any] = [make(build_init_resource_context()) for _ in range(2)]
    put(managers[0], PATH)
    with store.away():
        assert got(managers[0]) == PATH
        with pytest.raises(Failure, match="does not hold the output"):
            got(managers[1])
    assert got(managers[1]) == PATH


def test_same_value_of_all_mapping_keys_is_stored_once(store: LocalStore) -> None:
    manager = DatastoreIOManager(store.flow)
    put(manager, PATH, "0")
    with store.away():
        for index in range(1, 100):
            put(manager, PATH, str(index))
    assert set(store.texts()) == {f"{OUTPUTS}/run/op_a/out"}
    for each in (manager, DatastoreIOManager(store.flow)):
        assert [got(each, str(index)) for index in range(100)] == [PATH] * 100


def test_other_values_are_stored_apart(store: LocalStore) -> None:
    manager = DatastoreIOManager(store.flow)
    values = {"0": "a", "1": "b", "0_1": "a", "2": "a", "3": "c"}
    for key, value in values.items():
        put(manager, value, key)
    assert set(store.texts()) == {
        f"{OUTPUTS}/run/op_a/out",
        f"{OUTPUTS}/run/op_a/out.1",
        f"{OUTPUTS}/run/op_a/out.3",
    }
    for each in (manager, DatastoreIOManager(store.flow)):
        assert {key: got(each, key) for key in values} == values


def test_values_that_python_takes_for_the_same_are_stored_apart(store: LocalStore) -> None:
    manager = DatastoreIOManager(store.flow)
    values = {"0": 1, "1": True, "2": 1.0}
    for key, value in values.items():
        put(manager, value, key)
    for each in (manager, DatastoreIOManager(store.flow)):
        assert {key: repr(got(each, key)) for key in values} == {"0": "1", "1": "True", "2": "1.0"}


def test_value_is_as_it_was_stored(store: LocalStore) -> None:
    manager, value = DatastoreIOManager(store.flow), [PATH]
    put(manager, value)
    value.clear()
    got(manager).append("another")
    assert got(manager) == [PATH]


def test_outputs_of_runs_and_ops_are_apart(store: LocalStore) -> None:
    manager = DatastoreIOManager(store.flow)
    places = [("run", "op_a"), ("run", "op_b"), ("other", "op_a"), ("run", "op_a[0]")]
    for run_id, step in places:
        put(manager, f"{run_id} {step}", None, run_id, step)
    for each in (manager, DatastoreIOManager(store.flow)):
        assert [got(each, None, *place) for place in places] == [" ".join(each) for each in places]


def test_retried_op_stores_again(store: LocalStore) -> None:
    manager = DatastoreIOManager(store.flow)
    for attempt in ("first", "second"):
        put(manager, attempt)
        put(manager, attempt, step="op_b")
        put(manager, attempt, "0")
        put(manager, attempt, "1")
    for each in (manager, DatastoreIOManager(store.flow)):
        assert [got(each), got(each, step="op_b"), got(each, "0"), got(each, "1")] == ["second"] * 4


def test_retry_in_another_process_stores_again(store: LocalStore) -> None:
    for attempt in ("first", "second"):
        put(DatastoreIOManager(store.flow), attempt)
    assert got(DatastoreIOManager(store.flow)) == "second"


@pytest.mark.parametrize("key", [None, "0"])
def test_missing_output(store: LocalStore, key: str | None) -> None:
    with pytest.raises(Failure) as raised:
        got(DatastoreIOManager(store.flow), key)
    assert re.search(f"does not hold the output {OUTPUTS}/run/op_a/out.* anew", str(raised.value))
    assert str(store.root) in str(raised.value)
    assert raised.value.allow_retries is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
mapping_keys = st.none() | st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.mark.slow
@given(outputs=st.lists(st.tuples(mapping_keys, json_values), min_size=1, max_size=6))
def test_whatever_is_stored_last_is_had_again(
    module_store: LocalStore, outputs: Sequence[tuple[str | None, Any]]
) -> None:
    # An output has mapping keys or it has none; in a retry the same ones get values again.
    is_dynamic = outputs[0][0] is not None
    run_id = f"run-{next(_numbers)}"
    manager = DatastoreIOManager(module_store.flow)
    latest: dict[str | None, Any] = {}
    for key, value in outputs:
        latest[(key or "k") if is_dynamic else None] = value
        put(manager, value, (key or "k") if is_dynamic else None, run_id)
    for each in (manager, DatastoreIOManager(module_store.flow)):
        assert {key: repr(got(each, key, run_id)) for key in latest} == {
            key: repr(value) for key, value in latest.items()
        }
