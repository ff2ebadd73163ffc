"""Waiting for the end of a run, with its progress on the screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live
from rich.text import Text

from metaflow_dagster.operate.errors import DagsterUnavailable
from metaflow_dagster.operate.progress import Progress
from metaflow_dagster.operate.runs import DagsterRun
from metaflow_dagster.operate.target import Target

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_OF_SILENCE = 120.0

Show = Callable[[Sequence[str]], None]


def follow(target: Target, dagster_run_id: str, progress: Progress, show: Show) -> DagsterRun:
    """Wait for the end of a run and return what has become of it.

    A server that does not answer may have been restarted, which is no end of its runs.
    """
    look = _Look(target, dagster_run_id, progress)
    last_answer = time.monotonic()
    while True:
        try:
            run, is_all = look()
            last_answer = time.monotonic()
        except DagsterUnavailable:
            if time.monotonic() - last_answer > SECONDS_OF_SILENCE:
                raise
            run, is_all = None, True
        show(list(progress.lines()))
        if run is not None and run.phase.is_finished and is_all:
            return run
        if is_all:
            time.sleep(SECONDS_BETWEEN_LOOKS)


class _Look:
    """A look at a run and at what has happened in it since the last."""

    def __init__(self, target: Target, dagster_run_id: str, progress: Progress) -> None:
        self._target = target
        self._dagster_run_id = dagster_run_id
        self._progress = progress
        self._cursor: str | None = None

    def __call__(self) -> tuple[DagsterRun, bool]:
        """The run, and whether nothing has happened since."""
        # In this order: what has happened before the end is there when the end is seen.
        run = self._target.run(self._dagster_run_id)
        events, self._cursor = self._target.events(self._dagster_run_id, self._cursor)
        self._progress.add(events)
        return run, not events


def why_failed(target: Target, dagster_run_id: str) -> str:
    """Why a run has failed, by its steps, or as a whole if no step failed."""
    progress = Progress({})
    look = _Look(target, dagster_run_id, progress)
    is_all = False
    while not is_all:
        _, is_all = look()
    return progress.failure()


@contextmanager
def screen() -> Iterator[Show]:
    """How progress is shown: in place on a terminal, line after line elsewhere."""
    if not sys.stdout.isatty():
        yield Appending()
        return
    with Live(auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        # As plain text: what is in brackets is no markup.
        yield lambda lines: live.update(Text("\n".join(lines), end=""), refresh=True)


class Appending:
    """Prints each line that has changed: a step that is tried again is seen to be running again."""

    def __init__(self) -> None:
        self._before: Sequence[str] = ()

    def __call__(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line not in self._before:
                print(line, flush=True)
        self._before = lines
