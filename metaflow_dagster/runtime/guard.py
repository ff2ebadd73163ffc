"""The end of a process and of all it has started, also when nobody is left to see to it."""

import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

PROCESS_VARIABLE = "METAFLOW_DAGSTER_PROCESS"  # marks a process and all it starts
SECONDS_TO_STOP = 5.0
OPS_OF_A_RUN = "dagster._core.executor.child_process_executor"
GUARD_LOCK = threading.Lock()


class Guard:
    """A process that ends others when the one that has started it is gone, by SIGKILL even.

    It is there as long as there is something to watch, or somebody keeps it.
    """

    def __init__(self) -> None:
        self.keepers = 0
        self.watched: dict[str, int] = {}
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=end_with_parent, daemon=True).start()

    def watch(self, marker: str, session: int = 0) -> None:
        """End what has a marker if this process goes, and its session once that is known."""
        with self.lock:
            self.process = self.process or self.start()
            self.watched[marker] = session
            self.tell()

    def leave(self, marker: str) -> None:
        """No longer watch a session."""
        with self.lock:
            del self.watched[marker]
            self.tell()
            self.end_unused()

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Leave the process there when there is nothing to watch for a while, once it has begun."""
        with self.lock:
            self.keepers += 1
        try:
            yield
        finally:
            with self.lock:
                self.keepers -= 1
                self.end_unused()

    def end_unused(self) -> None:
        """End the process if there is no use for it."""
        if self.process and not self.watched and not self.keepers:
            self.process.communicate()
            self.process = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process that does the work."""
        parts = (guard, stop_processes, members, is_member)
        source = "\n".join(inspect.getsource(one) for one in parts)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", f"{source}\n{guard.__name__}({SECONDS_TO_STOP})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )

    def tell(self) -> None:
        """Let the other process know what is watched now."""
        line = " ".join(f"{session}:{marker}" for marker, session in self.watched.items())
        # Whatever has become of it: without it a step runs as well.
        with suppress(OSError):
            if self.process and self.process.stdin:
                self.process.stdin.write(f"{line}\n".encode())


def only_guard() -> Guard:
    """The guard of this process."""
    with GUARD_LOCK:
        return new_guard()


@cache
def new_guard() -> Guard:
    """A guard; another call gives the same."""
    return Guard()


def end_with_parent() -> None:
    """End this process with that of the run, if it is an op's in Dagster's multiprocess executor.

    Otherwise it would go on alone, since Dagster cannot tell it any more. The process of a run,
    which a code server starts in the same way, may well outlive that.
    """
    target = getattr(multiprocessing.current_process(), "_target", None)
    parent = multiprocessing.parent_process()
    if parent is not None and getattr(target, "__module__", "") == OPS_OF_A_RUN:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(SECONDS_TO_STOP + 3)
        os._exit(1)


def guard(seconds: float) -> None:
    """What the guard does: wait for the end of its input, then end what the last line names.

    It runs in a Python of its own, as do the functions it calls, from their source. So all of them
    import what they use.
    """
    from sys import stdin

    line = ""
    while latest := stdin.readline():
        line = latest
    pairs = (one.split(":", 1) for one in line.split())
    watched = {marker: int(session) for session, marker in pairs}
    if watched:
        stop_processes(watched, seconds)


def stop_processes(watched: dict[str, int], seconds: float) -> None:
    """End all processes of some sessions, those that are there after some seconds by SIGKILL.

    A session has the id of the process it began with, or 0 as long as that is not known. What
    leaves it, as daemons do, is known by the marker in its environment, `NAME=value`.
    """
    from os import kill
    from signal import SIGKILL, SIGTERM
    from time import monotonic, sleep

    start = monotonic()
    asked: set[int] = set()
    while (living := members(watched)) and monotonic() - start < seconds + 2:
        is_late = monotonic() - start > seconds
        for pid in living if is_late else {*living} - asked:
            try:
                kill(pid, SIGKILL if is_late else SIGTERM)
            except OSError:
                continue
        asked.update(living)
        sleep(0.05)


def members(watched: dict[str, int]) -> list[int]:
    """The living processes of some sessions, as `os.kill` takes them: process groups are negative.

    Without /proc, as on macOS, only what has stayed in a session's first group is found.
    """
    from os import kill, listdir
    from os.path import isdir

    if isdir("/proc/self"):
        pids = [int(name) for name in listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if is_member(pid, watched)]
    groups = []
    for session in filter(None, watched.values()):
        try:
            kill(-session, 0)
        except OSError:
            continue
        groups.append(-session)
    return groups


def is_member(pid: int, watched: dict[str, int]) -> bool:
    """Whether a process lives, and belongs to a session or has its marker."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as text:
            state, _parent, _group, session = text.read().rpartition(b")")[2].split()[:4]
        with open(f"/proc/{pid}/environ", "rb") as text:
            variables = text.read().split(b"\0")
    except OSError:
        return False
    is_marked = any(marker.encode() in variables for marker in watched)
    in_session = int(session) in filter(None, watched.values())
    return state not in (b"Z", b"X") and (in_session or is_marked)
