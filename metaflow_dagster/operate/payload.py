"""The payload of an event: values that a flow gets as they were given, whichever way they take.

On their way they are JSON, for the webserver and in Dagster's history, and there metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from metaflow_dagster.operate.errors import EventNotPublished

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

# The types that JSON is read as.
Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None

# Dagster recurses into what it stores, with several frames a level: it fails at some hundreds.
_DEEPEST: Final = 100

# Dagster takes JSON with such a key for an object of its own, and cannot read the event again;
# _unpack_object in dagster_shared/serdes/serdes.py.
_TAKEN: Final = {"__class__", "__enum__", "__set__", "__frozenset__", "__mapping_items__"}


def checked_payload(payload: Mapping[str, Json]) -> dict[str, Plain]:
    """The payload in plain values; `EventNotPublished` names the key of one that cannot be held."""
    checked: dict[str, Plain] = {}
    for key, value in payload.items():
        checked |= _as_read(key, value)
    return checked


def _as_read(key: object, value: Json) -> dict[str, Plain]:
    """An entry as JSON gives it back, if that is as it was."""
    if not isinstance(key, str):
        raise EventNotPublished(f"The keys of a payload are texts, and {key!r} is not.")
    _check_nested(key, value, 0)
    try:
        read: dict[str, Plain] = json.loads(json.dumps({key: value}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _refused(key, f"cannot be written as JSON: {error}") from error
    if read != {key: value}:
        raise _refused(
            key,
            "would not come back from JSON as it is. What does: None, bool, int, float, str, "
            "lists, and dicts with str as keys",
        )
    return read


def _check_nested(key: str, value: Json, depth: int) -> None:
    if depth > _DEEPEST:
        raise _refused(key, f"is nested more than {_DEEPEST} levels deep, or without end")
    if isinstance(value, dict):
        for taken in sorted(_TAKEN.intersection(value)):
            raise _refused(key, f"has the key {taken!r} inside, which Dagster keeps for itself")
        for inner in value.values():
            _check_nested(key, inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_nested(key, inner, depth + 1)


def _refused(key: str, reason: str) -> EventNotPublished:
    return EventNotPublished(f"The value of {key!r} in the payload {reason}.")
