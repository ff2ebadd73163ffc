"""Programs that tests start and that no Python package brings along."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def installed(name: str, *directories: Path) -> Path:
    """Where a program is; the test is skipped where it is not, or fails in continuous integration.

    It is looked for on the path, and in directories that are on nobody's path.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, directories)])
    found = shutil.which(name, path=path)
    return Path(found) if found else missing(name)


def missing(what: str) -> Path:
    """Say that something is not there: a test that cannot run is a failure where all have to."""
    advice = f"{what} is not installed: run `make services` as root"
    if os.environ.get("CI"):
        pytest.fail(advice)
    pytest.skip(advice)
