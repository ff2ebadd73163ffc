from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, OpExecutionContext, build_op_context

from metaflow_dagster.runtime.process import (
    DIGEST_LINES,
    EXIT_DISALLOW_RETRY,
    LONGEST_LINE,
    CapturedProcess,
    captured_process,
    copy_lines,
    step_failure,
    stop_process_group,
)


@pytest.fixture
def context() -> Iterator[OpExecutionContext]:
    with DagsterInstance.ephemeral() as instance, build_op_context(instance=instance) as made:
        yield made  # type: ignore[misc]


def run(
    context: OpExecutionContext, code: str, **extra: str
) -> tuple[CapturedProcess, bytes, bytes]:
    """Run Python code; how it ended, and what it wrote."""
    with captured_process(context, [sys.executable, "-c", code], extra) as process:
        return process, process.stdout.read_bytes(), process.stderr.read_bytes()


@pytest.mark.parametrize(
    ("code", "returncode", "ending"),
    [
        pytest.param("", 0, " with exit code 0.", id="success"),
        pytest.param("raise SystemExit(3)", 3, " with exit code 3.", id="exit code"),
        pytest.param(
            "import os; os.kill(os.getpid(), 9)",
            -9,
            ": its process was ended by SIGKILL.",
            id="signal",
        ),
        pytest.param(
            "import os; os.kill(os.getpid(), 40)",
            -40,
            ": its process was ended by signal 40.",
            id="signal without a name",
        ),
    ],
)
def test_ending(context: OpExecutionContext, code: str, returncode: int, ending: str) -> None:
    process, _, _ = run(context, code)
    assert (process.returncode, process.ending()) == (returncode, ending)


def test_output_is_kept_and_passed_on(
    context: OpExecutionContext, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os, sys\n"
        "print('Größe ✓', os.environ['X'])\n"
        "sys.stdout.buffer.write(b'no line end \\xff')\n"
        "print('bad', file=sys.stderr)\n"
    )
    _, stdout, stderr = run(context, code, X="given", PYTHONIOENCODING="utf-8")
    assert stdout == "Größe ✓ given\nno line end ".encode() + b"\xff"
    assert stderr == b"bad\n"
    shown = capsys.readouterr()
    assert "Größe ✓ given\nno line end \ufffd" in shown.out
    assert "bad\n" in shown.err


def test_big_output_is_kept(context: OpExecutionContext) -> None:
    lines = "import sys; [print('x' * 99) for _ in range(30_000)]"
    code = f"{lines}; sys.stderr.write('y' * 2_500_000)"
    _, stdout, stderr = run(context, code)
    assert (len(stdout), len(stderr)) == (3_000_000, 2_500_000)


def test_stdin_is_empty(context: OpExecutionContext) -> None:
    _, stdout, _ = run(context, "import sys; print(repr(sys.stdin.read()))")
    assert stdout == b"''\n"


class Brittle(io.StringIO):
    """A stream that somebody has closed."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        pytest.param(io.TextIOWrapper(io.BytesIO(), "ascii"), b"? a\n", id="ASCII"),
        pytest.param(io.TextIOWrapper(io.BytesIO(), "latin-1"), b"? a\n", id="Latin 1"),
        pytest.param(Brittle(), None, id="broken"),
    ],
)
def test_pipe_is_emptied_whatever_the_stream_takes(
    stream: io.TextIOWrapper | io.StringIO, shown: bytes | None, tmp_path: Path
) -> None:
    content = "✓ a\n".encode() * 2
    copy_lines(io.BytesIO(content), stream, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content
    if shown is not None:
        assert stream.buffer.getvalue() == shown * 2  # type: ignore[union-attr]


def test_very_long_line_is_passed_on_in_parts(tmp_path: Path) -> None:
    content = b"x" * (2 * LONGEST_LINE + 5)
    stream = io.StringIO()
    copy_lines(io.BytesIO(content), stream, tmp_path / "out")
    assert stream.getvalue().encode() == (tmp_path / "out").read_bytes() == content


def test_process_that_leaves_another_is_not_waited_for(
    context: OpExecutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaflow_dagster.runtime.process.SECONDS_TO_STOP", 0.2)
    sleeper = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys\n"
        f"print(subprocess.Popen([sys.executable, '-c', {sleeper!r}]).pid, flush=True)\n"
    )
    started = time.monotonic()
    process, stdout, _ = run(context, code)
    assert process.returncode == 0
    assert time.monotonic() - started < 20
    os.kill(int(stdout), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# In a process of its own, as an interruption may come at any time.
SUPERVISOR = """
import sys
from dagster import build_op_context
from metaflow_dagster.runtime import process
process.SECONDS_TO_STOP = 0.5
with process.captured_process(build_op_context(), [sys.executable, "-c", sys.argv[1]], {}):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("stubborn", [False, True], ids=["obeys SIGTERM", "ignores SIGTERM"])
def test_interruption_ends_the_whole_process_group(stubborn: bool, tmp_path: Path) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    file = tmp_path / "pids"
    code = (
        f"{ignore}"
        "import os, pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(file)!r} + '_').write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(file)!r} + '_', {str(file)!r})\n"
        "time.sleep(60)\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, code])
    try:
        assert comes_true(file.exists)
        time.sleep(0.2)
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(30)
    finally:
        supervisor.kill()
    pids = list(map(int, file.read_text().split()))
    assert comes_true(lambda: not any(map(is_alive, pids)))


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_group_of_a_process_that_has_ended_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    stop_process_group(process)  # type: ignore[arg-type]


def captured(tmp_path: Path, returncode: int, stderr: bytes) -> CapturedProcess:
    (tmp_path / "stderr").write_bytes(stderr)
    return CapturedProcess(returncode, tmp_path / "stdout", tmp_path / "stderr")


@pytest.mark.parametrize(
    ("returncode", "may_retry", "allowed"),
    [
        pytest.param(1, True, True, id="retries left"),
        pytest.param(1, False, False, id="no retries left"),
        pytest.param(202, True, False, id="Metaflow forbids it"),
    ],
)
def test_step_failure(tmp_path: Path, returncode: int, may_retry: bool, allowed: bool) -> None:
    process = captured(tmp_path, returncode, b"first\nlast\n")
    failure = step_failure("Step a failed", process, may_retry)
    assert failure.description == f"Step a failed with exit code {returncode}.\nfirst\nlast"
    assert failure.allow_retries is allowed


def test_digest_is_the_end(tmp_path: Path) -> None:
    stderr = b"".join(b"%d\n" % i for i in range(100_000)) + b"\xff end"
    lines = captured(tmp_path, 1, stderr).digest().splitlines()
    assert len(lines) == DIGEST_LINES
    assert lines[-1] == "\ufffd end"
    assert captured(tmp_path, 1, b"").digest() == ""


def test_exit_code_is_that_of_metaflow() -> None:
    from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY

    assert EXIT_DISALLOW_RETRY == METAFLOW_EXIT_DISALLOW_RETRY


def test_stopping_ends_what_the_process_has_started_and_is_deaf() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    leader = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}]);"
        "time.sleep(1); print(child.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    stop_process_group(process)
    assert process.returncode == -signal.SIGTERM
    assert ended(child)


def ended(process: int) -> bool:
    """Whether a process is gone within a second, or waits only to be reaped."""
    for _ in range(20):
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
