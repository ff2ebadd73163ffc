"""What an event can carry."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.operate.errors import EventNotPublished
from metaflow_dagster.operate.payload import checked_payload
from tests.unit.operate.events import PAYLOAD, exactly, payloads, values

_well_formed = st.text(max_size=8)
_circle: list[Any] = []
_circle.append(_circle)


class Size(str, enum.Enum):
    SMALL = "small"


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.slow
@given(st.dictionaries(_well_formed, values(_well_formed | st.integers(), _well_formed)))
def test_whatever_is_json_is_taken(payload: dict[str, Any]) -> None:
    assert exactly(checked_payload(payload)) == exactly(payload)


@given(payloads())
def test_what_is_taken_is_held_by_json(payload: dict[str, Any]) -> None:
    try:
        checked = checked_payload(payload)
    except EventNotPublished:
        return
    assert exactly(checked) == exactly(payload)


def test_odd_ones() -> None:
    assert exactly(checked_payload(PAYLOAD)) == exactly(PAYLOAD)
    assert exactly(checked_payload({Size.SMALL: Size.SMALL})) == exactly({"small": "small"})
    checked_payload({"deep": nested(100)})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "Out of range float"),
        ([1, {"a": float("inf")}], "Out of range float"),
        ({1, 2}, "set is not JSON serializable"),
        (b"text", "bytes is not JSON serializable"),
        pytest.param(10**5000, "cannot be written as JSON", id="5000 digits"),
        ((1, 2), "would not come back"),
        ({1: 2}, "would not come back"),
        ({None: 2}, "would not come back"),
        ("\ud834\udd1e", "would not come back"),
        ({"__class__": "AssetKey", "path": ["a"]}, "'__class__' inside"),
        ([{"a": {"__enum__": "A.B"}}], "'__enum__' inside"),
        ({"__set__": [2, 1]}, "'__set__' inside"),
        (nested(101), "more than 100 levels"),
        (_circle, "without end"),
    ],
)
def test_value_that_cannot_be_held(value: Any, reason: str) -> None:
    with pytest.raises(EventNotPublished) as caught:
        checked_payload({"fine": 1, "the key": value})
    assert "'the key'" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_key_that_is_no_text(key: Any) -> None:
    with pytest.raises(EventNotPublished) as caught:
        checked_payload({key: 1})
    assert f"{key!r} is not" in str(caught.value)
