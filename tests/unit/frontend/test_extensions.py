"""Extensions that Metaflow does not load, as it looks for a file that they do not have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import checked

SHOW = """
import json
from metaflow_dagster.frontend import hidden_extensions
print(json.dumps(hidden_extensions()))
"""


def install(site: Path, name: str, *metadata: str) -> Path:
    """An installed distribution with an extension; its directory."""
    own = site / "metaflow_extensions" / name / "plugins"
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    described = site / f"{name}-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file in metadata:
        (described / file).write_text("metaflow_extensions\n")
    files = [f"metaflow_extensions/{name}/plugins/__init__.py", f"{described.name}/METADATA"]
    (described / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return own.parent


def test_extensions_without_top_level_file(tmp_path: Path) -> None:
    site = tmp_path / "site 's"
    install(site, "seen", "top_level.txt")
    hidden = install(site, "hidden")
    show = [sys.executable, "-c", SHOW]
    ((directory, command),) = json.loads(checked(show, tmp_path, PYTHONPATH=str(site))).items()
    assert directory == str(hidden)
    subprocess.run(["sh", "-c", command], check=True)
    assert json.loads(checked(show, tmp_path, PYTHONPATH=str(site))) == {}


def test_extensions_that_are_loaded(tmp_path: Path) -> None:
    install(tmp_path, "plain")
    show = [sys.executable, "-c", SHOW]
    path = os.pathsep.join([str(tmp_path), str(tmp_path)])
    assert json.loads(checked(show, tmp_path, PYTHONPATH=path)) == {}
