"""Runs one command to its end, and takes its time or its memory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.flows import END_VARIABLE, MARK_VARIABLE
from tests.bench.processes import ProcessTree

SECONDS_TO_LEAVE = 10.0
SECONDS_BETWEEN_SAMPLES = 0.1
SHOWN_OF_OUTPUT = 4000  # characters
MIB = 2**20
KIB = 2**10
TICKS = os.sysconf("SC_CLK_TCK")  # a second, in which Linux counts the time of processes


class RunFailed(Exception):
    """A command of the benchmark has not done what it should; the text says which and why."""


@dataclass(frozen=True)
class Command:
    """An argument vector, where it is run, and whether the flow must come to its end by it."""

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    runs_flow: bool

    @property
    def output(self) -> Path:
        """The file that takes what the command says."""
        return self.directory / "output.txt"

    @property
    def end(self) -> Path:
        """The file that the last step of the flow makes."""
        return self.directory / "end"


def seconds(command: Command) -> float:
    """How long the command takes, with the start of its interpreter."""
    with _started(command) as (process, began, _):
        process.wait()
        return time.monotonic() - began


def peak_memory(command: Command) -> float:
    """The most memory that all processes of the command have at once, in MiB."""
    peak = 0
    with _started(command) as (process, _, tree):
        while process.poll() is None:
            peak = max(peak, tree.memory())
            time.sleep(SECONDS_BETWEEN_SAMPLES)
    return peak / MIB


def own_seconds(command: Command) -> float:
    """The seconds of CPU that the process of the command takes, without those it has started."""
    with _started(command) as (process, _, __):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / TICKS  # proc(5): utime, stime


def own_memory(command: Command) -> float:
    """The most memory that a process of the command has, which is that of the run, in MiB."""
    with _started(command) as (process, _, __):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * KIB / MIB


@contextmanager
def _started(command: Command) -> Iterator[tuple[subprocess.Popen[bytes], float, ProcessTree]]:
    command.end.unlink(missing_ok=True)
    mark = uuid.uuid4().hex
    began = time.monotonic()
    process = _start(command, mark)
    tree = ProcessTree(psutil.Process(process.pid), mark)
    try:
        yield process, began, tree
        _check(command, process.wait())
        # What a run leaves behind would slow down the next.
        if not tree.gone_within(SECONDS_TO_LEAVE):
            print(f"processes left behind by: {_shown(command)}", file=sys.stderr)
    finally:
        tree.end()
        process.wait()


def _start(command: Command, mark: str) -> subprocess.Popen[bytes]:
    # A file, as nobody need read it, nor wait for those who hold a pipe open.
    with command.output.open("wb") as output:
        return subprocess.Popen(
            command.arguments,
            cwd=command.directory,
            env={**command.environment, MARK_VARIABLE: mark, END_VARIABLE: str(command.end)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _check(command: Command, status: int) -> None:
    if status:
        problem = f"ended with {status}"
    elif command.runs_flow and not command.end.exists():
        problem = "ended well, but the flow has not come to its end"
    else:
        return
    said = command.output.read_text(errors="replace")[-SHOWN_OF_OUTPUT:]
    raise RunFailed(f"{said}\n{_shown(command)}: {problem}")


def _shown(command: Command) -> str:
    return shlex.join(command.arguments)
