"""The older package of the same name, installed where it does not meet this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bench.execution import SHOWN_OF_OUTPUT, RunFailed
from tests.bench.runners import Peer

REQUIREMENT = "metaflow-dagster==0.3.7"
ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
DIRECTORY = ROOT / "build" / "peer"


def installed_peer(directory: Path = DIRECTORY) -> Peer:
    """The runner, installed in a virtual environment unless it is already."""
    python = directory / "bin" / "python"
    wanted = f"{REQUIREMENT}\n{CONSTRAINTS.read_text()}"
    note = directory / "installed.txt"
    if not note.exists() or note.read_text() != wanted:
        _install(directory, python)
        note.write_text(wanted)
    return Peer(str(python))


def _install(directory: Path, python: Path) -> None:
    print(f"installing {REQUIREMENT} in {directory}", file=sys.stderr, flush=True)
    _checked([sys.executable, "-m", "venv", "--clear", str(directory)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
    _checked([*pip, REQUIREMENT, "dagster"])


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"{(done.stdout + done.stderr)[-SHOWN_OF_OUTPUT:]}\n{command}: failed")
