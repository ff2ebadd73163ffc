"""Texts as words of a command line that people copy."""

from __future__ import annotations

import os
import re
import shlex


def shell_word(text: str) -> str:
    """One word of a POSIX shell on one line; what is not printable in bash's `$'…'` form."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = re.sub(r"[\\']", lambda match: "\\" + match[0], text)
    return "$'" + re.sub(r"[^\x20-\x7e]", _ansi_c, escaped) + "'"


def _ansi_c(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode(errors="surrogateescape"))


def file_word(path: str) -> str:
    """The same for the path of a file, which no command takes for an option."""
    return shell_word(os.path.join(os.curdir, path) if path.startswith("-") else path)
