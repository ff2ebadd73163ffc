"""Texts that are there to be shown."""

from __future__ import annotations


def shown(text: str) -> str:
    """A description, with escapes for the halves of characters that Dagster cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()
