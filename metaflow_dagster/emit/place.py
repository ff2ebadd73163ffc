"""Where the generated file will lie, and how it names other files from there.

A path inside the project that holds the generated file is written relative to the file, so that
the project can be checked out or copied to another place. Any other path is absolute.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# What marks the top of a project; without one, the file's own directory is the project.
_PROJECT_MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True)
class Place:
    """The absolute path of the generated file and of the project around it, if it stays in one."""

    file: Path
    project: Path | None

    def relative(self, path: str) -> str | None:
        """The path from the file's directory, with slashes; None if it is outside the project."""
        target = Path(path)
        if self.project is None or not target.is_relative_to(self.project):
            return None
        return Path(os.path.relpath(target, self.file.parent)).as_posix()


def place_of(output: str | os.PathLike[str]) -> Place:
    """The place of an output file that need not exist yet."""
    file = Path(os.path.abspath(output))
    directories = [file.parent, *file.parent.parents]
    marked = (
        directory
        for directory in directories
        if any((directory / mark).exists() for mark in _PROJECT_MARKERS)
    )
    return Place(file, next(marked, file.parent))
