"""Extensions of Metaflow that lie on the path of Python and are not loaded."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from metaflow.extension_support import EXT_PKG, package_mfext_all_descriptions


def hidden_extensions() -> Mapping[str, str]:
    """The directories of extensions that Metaflow does not see, with commands that change that.

    Metaflow finds an extension by the file top_level.txt of its distribution. Those without one,
    as many tools build them, it finds only in directories where no distribution has that file
    (metaflow/extension_support/__init__.py: _get_extension_packages).
    """
    loaded = {
        os.path.realpath(file)
        for package in package_mfext_all_descriptions().values()
        for file in package["full_path_files"]
    }
    hidden = (directory for directory in _extensions() if not _is_loaded(directory, loaded))
    return {str(directory): _command(directory) for directory in sorted(hidden)}


def _extensions() -> Iterator[Path]:
    for entry in dict.fromkeys(map(os.path.abspath, sys.path)):
        directory = Path(entry, EXT_PKG)
        if directory.is_dir():
            yield from (inner for inner in directory.iterdir() if any(inner.rglob("*.py")))


def _is_loaded(directory: Path, loaded: set[str]) -> bool:
    return any(os.path.realpath(file) in loaded for file in directory.rglob("*.py"))


def _command(directory: Path) -> str:
    """The command that adds the missing file to the distribution of an extension, if it has one."""
    for distribution in metadata.distributions():
        described = [file for file in distribution.files or () if file.name == "METADATA"]
        if described and _holds(distribution, directory):
            file = Path(str(distribution.locate_file(described[0]))).with_name("top_level.txt")
            return f"echo {EXT_PKG} >> {shlex.quote(str(file))}"
    return f"see the documentation of {directory.name}"


def _holds(distribution: metadata.Distribution, directory: Path) -> bool:
    files = (file for file in distribution.files or () if file.parts[0] == EXT_PKG)
    places = (Path(str(distribution.locate_file(file))) for file in files)
    return any(place.is_relative_to(directory) for place in places)
