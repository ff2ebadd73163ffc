"""What the extension's step decorator makes of the triggers that an op hands on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.events import Trigger
from metaflow_extensions.dagster.plugins.dagster_internal import (
    DagsterInternalDecorator,
    events,
    packed,
    unpacked,
)

RUN = {
    "timestamp": 1700000000,
    "id": "Upstream/argo-1/end/end",
    "name": "metaflow.Upstream.end",
    "type": "run",
}
EVENT = {"timestamp": 1700000001, "id": "e-1", "name": "data_arrived", "type": "event"}

TRIGGERS = "METAFLOW_DAGSTER_TRIGGERS"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
near_events = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": json_values,
        "id": st.text("a/", max_size=6) | json_values,
        "name": st.text(max_size=3) | json_values,
        "type": st.sampled_from(["run", "event"]) | json_values,
        "other": json_values,
    },
)


def triggers(value: Any) -> list[dict[str, Any]]:
    return events({"METAFLOW_DAGSTER_TRIGGERS": json.dumps(value)})


def test_events_of_metaflow() -> None:
    found = triggers([RUN, EVENT])
    assert found == [RUN, EVENT]
    trigger = Trigger(found)
    assert [event.name for event in trigger.events] == ["data_arrived", "metaflow.Upstream.end"]
    assert trigger.event.timestamp.timestamp() == 1700000001


@pytest.mark.parametrize(
    "text", ["", "no JSON", "{}", "5", "null", '"a"', "[", "[1, null, {}, []]", "[" * 100_000]
)
def test_no_events(text: str) -> None:
    assert events({"METAFLOW_DAGSTER_TRIGGERS": text}) == []
    assert events({}) == []


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        pytest.param({"timestamp": None}, None, id="no timestamp"),
        pytest.param({"timestamp": "yesterday"}, None, id="text for a timestamp"),
        pytest.param({"timestamp": 1e30}, None, id="no date of this world"),
        pytest.param({"timestamp": 1700000000.7}, 1700000000, id="fraction"),
    ],
)
def test_timestamps(changed: dict[str, Any], kept: int | None) -> None:
    assert triggers([EVENT | changed]) == [EVENT | {"timestamp": kept}]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"name": None}, id="no name"),
        pytest.param({"id": 5}, id="number for an id"),
        pytest.param({"type": "run"}, id="run without the path of a task"),
    ],
)
def test_malformed_events_are_left_out(changed: dict[str, Any]) -> None:
    assert triggers([EVENT | changed, RUN]) == [RUN]


def test_further_fields_are_left_out() -> None:
    assert triggers([EVENT | {"payload": {"a": 1}}]) == [EVENT]


@given(json_values | st.lists(near_events, max_size=4))
def test_metaflow_takes_whatever_is_left(value: Any) -> None:
    trigger = Trigger(triggers(value))
    for event in trigger.events or []:
        assert isinstance(event.name, str)
        assert event.type != "run" or len(event.id.split("/")) >= 3


@given(st.text(), st.text(), st.booleans())
def test_what_is_known_gets_through_any_command_line(owner: str, said: str, alone: bool) -> None:
    known = {"METAFLOW_OWNER": owner} if alone else {"METAFLOW_OWNER": owner, TRIGGERS: said}
    text = packed({**known, "PATH": "/bin"})
    assert unpacked(text) == known
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text)
    decorator = DagsterInternalDecorator(attributes={"known": text})
    spec = decorator.make_decorator_spec()
    name, _, attributes = spec.partition(":")
    assert name == "dagster_internal"
    again = DagsterInternalDecorator.parse_decorator_spec(attributes)
    assert unpacked(again.attributes["known"]) == known


def test_nothing_is_known() -> None:
    assert unpacked(DagsterInternalDecorator().attributes["known"]) == {}
    assert DagsterInternalDecorator().make_decorator_spec() == "dagster_internal"
