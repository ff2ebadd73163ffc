"""Payloads of events, and what is read of them in a history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from metaflow_dagster.events import asset_path

# Whatever JSON knows, the odd ones among them.
PAYLOAD: Mapping[str, Any] = {
    "null": None,
    "true": True,
    "one": 1,
    "beyond 64 bits": -(2**80),
    "whole": 1.0,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "empty": "",
    "text": 'ü 𝄞 \x00 \n "quoted"',
    "lone surrogate \ud800": "\udcff",
    "list": [1, [None, {"a": 1.5}], True, ""],
    "dict": {"a b.c": {"": []}, "\ud800": {}},
    "": "no key",
    "a.b c/d": 1,
    "__class__": "AssetKey",
    "deep": [[[[[[[[[[{"deeper": [[[[[[[[[[0]]]]]]]]]]}]]]]]]]]]],
}

_texts = st.text(st.characters(exclude_categories=()), max_size=8)
_numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.none() | st.booleans() | _numbers | _texts


def values(
    scalars: st.SearchStrategy[Any] = _scalars, texts: st.SearchStrategy[str] = _texts
) -> st.SearchStrategy[Any]:
    """Values of JSON."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=10,
    )


def payloads() -> st.SearchStrategy[dict[str, Any]]:
    """Payloads, some of which hold what JSON does not."""
    foreign = st.sampled_from([float("nan"), float("inf"), (1, 2), {1: 2}, {1}, b"", 1j, object()])
    keys = _texts | st.sampled_from(["__class__", "__enum__", "__set__", "id"])
    return st.dictionaries(keys, values(_scalars | foreign, keys), max_size=4)


def recorded(home: Path, event: str) -> dict[str, Any]:
    """The payload of the latest event of a name."""
    from dagster import AssetKey, DagsterInstance

    with DagsterInstance.from_config(str(home)) as instance:
        (record,) = instance.fetch_materializations(AssetKey(asset_path(event)), limit=1).records
    assert record.asset_materialization is not None
    return {key: entry.value for key, entry in record.asset_materialization.metadata.items()}


def exactly(payload: Mapping[str, Any]) -> dict[str, tuple[object, str]]:
    """The values, told apart even if they are equal, such as 1, 1.0 and True."""
    return {key: (value, json.dumps(value, sort_keys=True)) for key, value in payload.items()}
