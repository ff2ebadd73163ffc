"""An earlier state of this project, out of its history, in the same environment."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.bench.peer import ROOT
from tests.bench.runners import EARLIER, Compiled


def earlier_release(directory: Path) -> Compiled | None:
    """The runner, with its files in a new directory; None where there is no history."""
    command = ["git", "-C", str(ROOT), "archive", EARLIER.name, "metaflow_dagster"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        print(f"{EARLIER.name} is left out: {reason}", file=sys.stderr, flush=True)
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(directory, filter="data")
    return EARLIER.at(directory)
