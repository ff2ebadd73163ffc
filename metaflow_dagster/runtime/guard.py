"""The end of a process and of all it has started, also when nobody is left to see to it."""

import inspect
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from metaflow_dagster.internals.execution import DagsterOpProcesses

PROCESS_VARIABLE = "METAFLOW_DAGSTER_PROCESS"  # marks a process and all it starts
SECONDS_TO_STOP = 5.0
SECONDS_BETWEEN_CHECKS = 0.5  # whether a guard is wanted still
GUARD_LOCK = threading.Lock()
END_OF_WATCH = "end"  # the last line that a guard gets which has done its work


class Guard:
    """Two processes that end others when the one that has started them is gone, by SIGKILL even.

    They are there as long as there is something to watch, or somebody keeps them. If one of them is
    killed, the other does what is to be done, and as long as this process lives, two others take
    their place.
    """

    def __init__(self) -> None:
        self.keepers = 0
        self.watched: dict[str, int] = {}
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None  # the first, which forks the second
        self.pipes: list[int] = []  # by which they are told what is watched, one each
        threading.Thread(target=end_with_parent, daemon=True).start()

    def watch(self, marker: str, session: int = 0) -> None:
        """End what has a marker if this process goes, and its session once that is known."""
        with self.lock:
            if self.process is None:
                self.start()
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
        """Leave the processes there when there is nothing to watch for a while, once begun."""
        with self.lock:
            self.keepers += 1
        try:
            yield
        finally:
            with self.lock:
                self.keepers -= 1
                self.end_unused()

    def end_unused(self) -> None:
        """End the processes if there is no use for them."""
        if self.process and not self.watched and not self.keepers:
            for pipe in self.pipes:
                # Closing would not do: a pipe stays open as long as `look_after` polls it.
                write_line(pipe, END_OF_WATCH)
                os.close(pipe)
            self.process.wait()
            self.process, self.pipes = None, []

    def start(self) -> None:
        """Start the processes that do the work."""
        parts = (guard, watched_at_end, stop_processes, members, is_member)
        source = "\n".join(inspect.getsource(part) for part in parts)
        inputs, pipes = zip(os.pipe(), os.pipe(), strict=True)
        call = f"{guard.__name__}({[*inputs]}, {SECONDS_TO_STOP}, {END_OF_WATCH!r})"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", f"{source}\n{call}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=inputs,
            )
        except OSError:
            for pipe in pipes:
                os.close(pipe)
            raise
        finally:
            for pipe in inputs:
                os.close(pipe)
        self.pipes = list(pipes)
        threading.Thread(target=self.look_after, args=[self.process], daemon=True).start()

    def tell(self) -> None:
        """Let the other processes know what is watched now."""
        line = " ".join(f"{session}:{marker}" for marker, session in self.watched.items())
        for pipe in self.pipes:
            write_line(pipe, line)

    def look_after(self, process: "subprocess.Popen[bytes]") -> None:
        """Start two processes anew as soon as one of them is gone, unless they are to end."""
        while not self.replaced(process):
            with self.lock:
                if self.process is not process:
                    return
                looking = select.poll()
                for pipe in self.pipes:
                    looking.register(pipe, 0)  # tells by itself that nobody reads any more
            looking.poll(SECONDS_BETWEEN_CHECKS * 1000)
        process.wait()

    def replaced(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether two others have taken the place of these, since one of them was gone."""
        with self.lock:
            if self.process is not process or all(map(is_read, self.pipes)):
                return False
            before = self.pipes
            try:
                self.start()
            except OSError:  # as when there may be no more processes: later, perhaps
                time.sleep(SECONDS_BETWEEN_CHECKS)
                return False
            self.tell()
            for pipe in before:
                write_line(pipe, "")
                os.close(pipe)
            return True


def write_line(pipe: int, line: str) -> None:
    """Write to a process, whatever has become of it: without it a step runs as well."""
    with suppress(OSError):
        os.write(pipe, f"{line}\n".encode())


def is_read(pipe: int) -> bool:
    """Whether there is a process that reads from the other end of a pipe."""
    looking = select.poll()
    looking.register(pipe, 0)
    return not looking.poll(0)


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
    if parent is not None and getattr(target, "__module__", "") == DagsterOpProcesses.main.module:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(SECONDS_TO_STOP + 3)
        os._exit(1)


def guard(inputs: list[int], seconds: float, end: str) -> None:
    """The program of the guard: wait for the end of the input, then end what its last line names.

    If that is `end`, its work is done.

    It is two processes, of which the second does it again: for what was just being started, and if
    the first was killed. They run in a Python of their own, as do the functions they call, from
    their source. So all of them import what they use.
    """
    from os import close, fork, pipe, read, waitpid
    from time import sleep

    reading, writing = pipe()
    if second := fork():
        close(reading)
        close(inputs[1])
        if watched := watched_at_end(inputs[0], end):
            stop_processes(watched, seconds)
        close(writing)
        waitpid(second, 0)
    else:
        close(writing)
        close(inputs[0])
        watched = watched_at_end(inputs[1], end)
        read(reading, 1)  # comes to an end when the first has done it, or was killed
        if watched:
            stop_processes(watched, seconds)
            sleep(0.5)
            stop_processes(watched, seconds)


def watched_at_end(input_file: int, end: str) -> dict[str, int]:
    """The processes that are watched when an input ends; none if its last line is `end`."""
    line = ""
    with open(input_file) as lines:
        for latest in lines:
            if latest.strip() == end:
                return {}
            line = latest
    pairs = (word.split(":", 1) for word in line.split())
    return {marker: int(session) for session, marker in pairs}


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
