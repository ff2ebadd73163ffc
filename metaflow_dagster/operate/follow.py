"""Waiting for the end of a run, with its progress on the screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from metaflow_dagster.operate.progress import Progress
from metaflow_dagster.operate.runs import DagsterRun
from metaflow_dagster.operate.target import Target

SECONDS_BETWEEN_LOOKS = 0.5

Show = Callable[[Sequence[str]], None]


def follow(target: Target, dagster_run_id: str, progress: Progress, show: Show) -> DagsterRun:
    """Wait for the end of a run and return what has become of it."""
    cursor: str | None = None
    while True:
        # In this order: what has happened before the end is there when the end is seen.
        run = target.run(dagster_run_id)
        events, cursor = target.events(dagster_run_id, cursor)
        progress.add(events)
        show(list(progress.lines()))
        if run.phase.is_finished and not events:
            return run
        if not events:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def screen() -> Show:
    """How progress is shown: in place on a terminal, line after line elsewhere."""
    return Rewriting() if sys.stdout.isatty() else Appending()


class Appending:
    """Prints each line that has changed."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def __call__(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line not in self._printed:
                print(line, flush=True)
        self._printed.update(lines)


class Rewriting:
    """Prints the lines over those of before, on a terminal."""

    def __init__(self) -> None:
        self._before: Sequence[str] = ()

    def __call__(self, lines: Sequence[str]) -> None:
        if lines == self._before:
            return
        up = f"\x1b[{len(self._before)}A" if self._before else ""
        print(up + "".join(f"\x1b[2K{line}\n" for line in lines), end="", flush=True)
        self._before = lines
