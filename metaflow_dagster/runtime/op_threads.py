"""The context of an op where several run in threads of one process.

Elsewhere an op has a process of its own, in which a signal interrupts it and whose output Dagster
captures.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from dagster import DagsterExecutionInterruptedError

from metaflow_dagster.runtime.starting import StartProcess, fresh_process

OP_THREAD = threading.local()


class Interruption:
    """The end of a run before its time; wakes whoever waits for something else.

    It is for threads, in which a signal raises nothing.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.happened = False
        self.waiting: set[threading.Event] = set()

    def happen(self) -> None:
        """Interrupt everybody, who waits now or will."""
        with self.lock:
            self.happened = True
            for event in self.waiting:
                event.set()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Whether an event has come in time; `DagsterExecutionInterruptedError` if interrupted."""
        with self.lock:
            self.waiting.add(event)
        try:
            if not self.happened:
                event.wait(seconds)
        finally:
            with self.lock:
                self.waiting.discard(event)
        if self.happened:
            raise DagsterExecutionInterruptedError
        return event.is_set()


@dataclass(frozen=True)
class OpThread:
    """Per-op context: interruption flag, output streams, process starter."""

    interruption: Interruption
    stdout: Sequence[TextIO]
    stderr: Sequence[TextIO]
    start_process: StartProcess = fresh_process


@contextmanager
def in_op_thread(thread: OpThread) -> Iterator[None]:
    """Make this the thread of an op, for all that is called in it."""
    OP_THREAD.current = thread
    try:
        yield
    finally:
        del OP_THREAD.current


def current_op_thread() -> OpThread:
    """The thread of the op that asks, or what serves as such in a process of its own."""
    own = OpThread(Interruption(), [sys.stdout], [sys.stderr])
    current: OpThread = getattr(OP_THREAD, "current", own)
    return current
