"""Reads runs as Metaflow's client does in a process with other settings than this one's."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import RunSnapshot, checked, run_snapshot

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reading:
    """A run with its cards by step, and the stderr of the first attempts of what was retried."""

    snapshot: RunSnapshot
    cards: Mapping[str, Sequence[tuple[str, str | None]]]
    failed_attempts: Sequence[str]


def read_elsewhere(path: str, environment: Mapping[str, str]) -> Reading:
    """Read a run in a process with this environment."""
    output = checked([sys.executable, "-m", __name__, path], ROOT, **environment)
    reading: Reading = pickle.loads(bytes.fromhex(output.splitlines()[-1]))
    return reading


def read(path: str) -> Reading:
    """Read a run in this process."""
    from metaflow import Run, Task, namespace

    namespace(None)
    run = Run(path)
    tasks = [task for step in run for task in step]
    return Reading(
        run_snapshot(path),
        {step.id: _cards(step.task) for step in run},
        [Task(task.pathspec, attempt=0).stderr for task in tasks if task.current_attempt],
    )


def pickled(reading: Reading) -> bytes:
    """The reading in a form that can be read in every process.

    Metaflow takes the class of the frames in `_foreach_stack` for one of the main module.
    """
    from metaflow.tuple_util import ForeachFrame

    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer)
    pickler.dispatch_table = {ForeachFrame: lambda frame: (tuple, (list(frame),))}
    pickler.dump(reading)
    return buffer.getvalue()


def _cards(task: Any) -> list[tuple[str, str | None]]:
    from metaflow.cards import get_cards
    from metaflow.plugins.cards.exception import CardNotPresentException

    try:
        return [(card.type, card.id) for card in get_cards(task)]
    except CardNotPresentException:
        return []


if __name__ == "__main__":
    from tests.services import reader

    sys.stdout.write(reader.pickled(reader.read(sys.argv[1])).hex())
