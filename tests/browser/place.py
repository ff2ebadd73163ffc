"""A `dagster dev` for a browser to look at."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.operated import Place, make_databases
from tests.support import checked

# Runs start at once, and no dialog asks whether one likes to get news.
SETTINGS = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    "run_queue": {"dequeue_interval_seconds": 1},
}


def place_with(directory: Path, flows: Sequence[Path]) -> Place:
    """A directory with flows that are compiled into `defs`, for a server that has just them."""
    place = Place(directory, directory / "dagster home")
    (directory / ".metaflow").mkdir()
    place.home.mkdir()
    (place.home / "dagster.yaml").write_text(json.dumps(SETTINGS))
    for flow in flows:
        shutil.copy(flow, directory)
    files = [flow.name for flow in flows]
    console = str(Path(sys.executable).with_name("metaflow-dagster"))
    checked([console, "create", *files, "--output-dir", "defs"], directory)
    make_databases(place)
    return place
