"""The names of events, and the assets that stand for them.

An event is a materialization of the asset with the event's name; the metadata is its payload.
"""

from __future__ import annotations

import re
from typing import Final

# Metaflow's deployer to Argo Workflows takes these characters, and no slash.
_PART: Final = r"[A-Za-z0-9_.-]+"
_NAME: Final = re.compile(f"{_PART}(?:/{_PART})*")


def check_event_name(name: object) -> None:
    """Raise a `ValueError` that says what is wrong, unless the name is one for an event.

    That is a text of letters, digits, `_`, `.` and `-`, or several of these with slashes between.
    """
    if not isinstance(name, str):
        raise ValueError(f"The name of an event is a text, and {name!r} is not.")
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no name for an event: it takes letters, digits, `_`, `.` and `-`, and "
            "slashes between them, as in `sales/orders`."
        )


def asset_path(name: str) -> list[str]:
    """The parts of the key of the asset that stands for an event."""
    return name.split("/")
