"""All processes of a run, wherever they have gone, and the memory they use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.bench.flows import MARK_VARIABLE

SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_TO_BECOME = 0.1


@dataclass(frozen=True)
class ProcessTree:
    """The processes of a run: those below the first, and those that its mark has reached.

    Steps change their session and may outlive what has started them; their environment stays.
    """

    first: psutil.Process
    mark: str

    def processes(self) -> set[psutil.Process]:
        """Those that are there now."""
        found = {one for one in psutil.process_iter() if _mark(one) == self.mark}
        with suppress(psutil.NoSuchProcess):
            found.update((self.first, *self.first.children(recursive=True)))
        return {one for one in found if _lives(one)}

    def memory(self) -> int:
        """Their memory in bytes; what several share counts once (proportional set size)."""
        return sum(_memory(one) for one in self.processes())

    def gone_within(self, seconds: float) -> bool:
        """Whether none is left after so many seconds at most."""
        return any(not found for found in self._looks(seconds))

    def end(self) -> None:
        """Kill all of them, and what they have started meanwhile."""
        while found := self.processes():
            for one in found:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _looks(self, seconds: float) -> Iterator[set[psutil.Process]]:
        deadline = time.monotonic() + seconds
        yield self.processes()
        while time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            yield self.processes()


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK_VARIABLE)
    except (psutil.Error, OSError):
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _memory(process: psutil.Process) -> int:
    try:
        # Between vfork and exec a process shows all the memory of its parent as its own.
        if time.time() - process.create_time() < SECONDS_TO_BECOME:
            return 0
        return int(process.memory_full_info().pss)
    except (psutil.Error, OSError):
        return 0
