"""Nothing that a step has started is left, whatever happens to whoever runs the step."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaflow_dagster.runtime.guard import (
    SECONDS_BETWEEN_CHECKS,
    Guard,
    end_with_parent,
    members,
    stop_processes,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# In a process of its own, since an interruption may come at any time.
SUPERVISOR = """
import sys
from dagster import build_op_context
from metaflow_dagster.runtime.process import captured_process
from tests.unit.samples import settings_of
flow = settings_of(file=sys.executable)
command = [sys.executable, "-c", sys.argv[1]]
with captured_process(flow, build_op_context(), command, {}) as process:
    process.wait(None)
"""

# A process with a child, a daemon in a session of its own, and a child without environment.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
if {deaf}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
children = [
    subprocess.Popen(sleep),
    subprocess.Popen(sleep, start_new_session=True),
    subprocess.Popen(sleep, env={{}}),
]
pids = [os.getpid(), *(child.pid for child in children)]
pathlib.Path({file!r} + ".new").write_text(" ".join(map(str, pids)))
os.rename({file!r} + ".new", {file!r})
time.sleep(100)
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """The process that supervises, and those that it has to end."""
    file = tmp_path / "pids"
    code = FAMILY.format(deaf=request.param, file=str(file))
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, code])
    try:
        assert comes_true(file.exists, 60)
        time.sleep(0.2)
        yield supervisor.pid, [int(pid) for pid in file.read_text().split()]
    finally:
        supervisor.kill()
        supervisor.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(False, id="obeys SIGTERM"),
        pytest.param(True, id="ignores SIGTERM", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_nothing_is_left(family: tuple[int, list[int]], number: signal.Signals) -> None:
    supervisor, pids = family
    assert all(map(is_alive, pids))
    subprocess.run(["kill", f"-{number.value}", str(supervisor)], check=True)
    assert comes_true(lambda: not any(map(is_alive, pids)), 10)


def test_process_stays_as_long_as_somebody_keeps_it() -> None:
    guardian = Guard()
    with guardian.lasting():
        assert guardian.process is None  # as there is nothing to watch yet
        guardian.watch("NO=first")
        assert guardian.process is not None
        pid = guardian.process.pid
        guardian.leave("NO=first")
        with guardian.lasting():
            assert is_alive(pid)
        assert is_alive(pid)
        guardian.watch("NO=second")
        assert guardian.process.pid == pid
        guardian.leave("NO=second")
        assert is_alive(pid)
    assert guardian.process is None
    assert not is_alive(pid)


def test_process_stays_for_what_is_watched_longer_than_it_is_kept() -> None:
    guardian = Guard()
    with guardian.lasting():
        guardian.watch("NO=marker")
        assert guardian.process is not None
        pid = guardian.process.pid
    assert is_alive(pid)
    guardian.leave("NO=marker")
    assert guardian.process is None
    assert not is_alive(pid)


def test_guard_without_use_ends_at_once() -> None:
    guardian = Guard()
    seconds = 0.0
    for _ in range(5):
        guardian.watch("NO=marker")
        time.sleep(0.1)  # in which somebody begins to look whether it is there
        began = time.monotonic()
        guardian.leave("NO=marker")
        seconds += time.monotonic() - began
    assert seconds < 2 * SECONDS_BETWEEN_CHECKS


def test_process_of_a_run_may_outlive_the_one_that_started_it() -> None:
    # It does not wait for the end of this process, as that of an op would.
    process = multiprocessing.get_context("spawn").Process(target=end_with_parent)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize("marker", ["PROCESS=abc", "PROCESS=ab", "OTHER=abc"])
def test_members_by_marker(marker: str) -> None:
    process = subprocess.Popen(["sleep", "100"], env={"PROCESS": "abc"})
    try:
        expected = [process.pid] if marker == "PROCESS=abc" else []
        assert comes_true(lambda: members({marker: 0}) == expected, 5)
    finally:
        process.kill()
        process.wait()


def test_members_by_session() -> None:
    # That the child may end first is no reason for the other to end by itself.
    sleep = "subprocess.run(['sleep', '100'], env={}); time.sleep(100)"
    code = f"import subprocess, time; {sleep}"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert comes_true(lambda: len(members({"NO=marker": process.pid})) == 2, 30)
    stop_processes({"NO=marker": process.pid}, 5)
    assert process.wait(1) == -signal.SIGTERM
    assert members({"NO=marker": process.pid}) == []


def test_nothing_but_the_kernel_has_session_0() -> None:
    assert members({"NO=marker": 0}) == []
