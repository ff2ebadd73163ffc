"""What is said of a run while it goes on."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from metaflow_dagster.operate.follow import Appending
from metaflow_dagster.operate.progress import Progress, step_of
from metaflow_dagster.operate.runs import Event, ItemsFound, RunFailed, StepChange, StepChanged


def lines(*events: Event) -> list[str]:
    progress = Progress({"score": "start"})
    progress.add(events)
    return list(progress.lines())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([StepChange.STARTED], "running"),
        ([StepChange.STARTED, StepChange.SUCCEEDED], "done"),
        ([StepChange.STARTED, StepChange.FAILED], "failed"),
        ([StepChange.SKIPPED], "skipped"),
        ([StepChange.STARTED, StepChange.RETRIED], "waiting to be tried again"),
        ([StepChange.STARTED, StepChange.RETRIED, StepChange.STARTED], "running"),
    ],
)
def test_step(changes: list[StepChange], text: str) -> None:
    assert lines(*(StepChanged("op_end", change) for change in changes)) == [f"end: {text}"]


def test_items_of_a_foreach_are_counted() -> None:
    assert lines(
        ItemsFound("op_start", 8),
        StepChanged("op_start", StepChange.SUCCEEDED),
        StepChanged("op_score[0]", StepChange.SUCCEEDED),
        StepChanged("op_score[1]", StepChange.FAILED),
        StepChanged("op_score[2]", StepChange.STARTED),
        StepChanged("op_score[7]", StepChange.STARTED),
    ) == ["start: done", "score: 1 of 8 done, 2 running, 1 failed"]


def test_items_of_the_foreaches_in_a_foreach_add_up() -> None:
    progress = Progress({"inner": "start", "body": "inner"})
    progress.add(
        [
            ItemsFound("op_inner[0]", 2),
            ItemsFound("op_inner[1]", 3),
            StepChanged("op_body[0_0]", StepChange.STARTED),
        ]
    )
    assert list(progress.lines()) == ["body: 0 of 5 done, 1 running"]


def test_plumbing_is_not_shown() -> None:
    assert lines(StepChanged("fan_out_inner", StepChange.STARTED)) == []


@pytest.mark.parametrize(
    ("key", "step"),
    [("op_start", "start"), ("op_a_b[1_2]", "a_b"), ("gather_x[0]", None), ("", None)],
)
def test_step_of(key: str, step: str | None) -> None:
    assert step_of(key) == step


def test_failure_is_that_of_the_steps() -> None:
    progress = Progress({})
    progress.add([RunFailed("Steps failed: ['op_a']"), StepChanged("op_a", StepChange.FAILED, "!")])
    assert progress.failure() == "a: !"


def test_failure_is_that_of_the_run_if_no_step_failed() -> None:
    progress = Progress({})
    progress.add([RunFailed("The job cannot be loaded.")])
    assert progress.failure() == "The job cannot be loaded."


def test_only_changed_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show = Appending()
    show(["a: running"])
    show(["a: running", "b: running"])
    show(["a: done", "b: running"])
    assert capsys.readouterr().out == "a: running\nb: running\na: done\n"


def test_a_second_try_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show = Appending()
    for state in ("running", "waiting to be tried again", "running", "running", "done"):
        show([f"a: {state}"])
    printed = "a: running\na: waiting to be tried again\na: running\na: done\n"
    assert capsys.readouterr().out == printed


IN_A_TERMINAL = """
from metaflow_dagster.operate.follow import screen
with screen() as show:
    for state in ("[running]", "done"):
        show([f"{number}: {state} {'x' * 50}" for number in range(30)])
"""


def test_on_a_terminal_lines_are_written_over_those_of_before() -> None:
    """Also where they wrap, or are more than it has rows."""
    rows, columns = 10, 40
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    command = [sys.executable, "-c", IN_A_TERMINAL]
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {**own, "TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    written = b""
    with suppress(OSError):  # which says that nobody has the terminal any more
        while part := os.read(master, 1000):
            written += part
    os.close(master)
    assert process.wait() == 0, written
    text = written.decode()
    assert "0: [running]" in text
    assert "29: done" in text
    assert 0 < text.count("\x1b[1A") < 2 * rows
