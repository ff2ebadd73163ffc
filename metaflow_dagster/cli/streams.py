"""The output of commands on streams that cannot encode all of it."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def show_everything() -> None:
    """Let escapes take the place of what a stream cannot encode, such as parts of file names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
