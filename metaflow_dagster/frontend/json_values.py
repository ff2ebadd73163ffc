"""Values of JSON that a generated file can hold."""

from __future__ import annotations

import json
from collections.abc import Collection

from metaflow_dagster.ir.flow import Literal

DEEPEST = 50  # Python takes no more than 200 brackets inside each other, with those around a value


def as_json(value: object) -> Literal:
    """The value as JSON gives it back; `ValueError` says why it has to stay out of a file."""
    try:
        read: Literal = json.loads(json.dumps(value))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if _is_deeper(read, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return read


def _is_deeper(value: object, levels: int) -> bool:
    """Whether there are more containers inside each other than that."""
    match value:
        case dict():
            inner: Collection[object] = value.values()
        case list():
            inner = value
        case _:
            return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
