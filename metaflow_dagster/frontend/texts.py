"""Texts that are to be shown, or given to a process."""

from __future__ import annotations

import os

LONGEST_VARIABLE = 100_000  # bytes; Linux takes 128 KiB, with what is around name and value

_LONGEST_SHOWN = 50  # characters of a value


def without_surrogates(text: str) -> str:
    """A description, with escapes for the halves of characters that Dagster cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def short(value: object) -> str:
    """A value of any type in a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def fits_environment(text: str) -> bool:
    """Whether a process can be given the text in its environment."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return b"\0" not in encoded and len(encoded) <= LONGEST_VARIABLE
