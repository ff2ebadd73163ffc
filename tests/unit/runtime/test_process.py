import io
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    Failure,
    OpExecutionContext,
    RetryPolicy,
    build_op_context,
    job,
    op,
)

from metaflow_dagster.runtime.failures import ERROR_LINES
from metaflow_dagster.runtime.limits import Limit
from metaflow_dagster.runtime.logs import LOG_BYTES, LOG_LAST_BYTES, StreamLog
from metaflow_dagster.runtime.process import (
    EXIT_DISALLOW_RETRY,
    CapturedProcess,
    captured_process,
    copy_lines,
    step_failure,
)
from tests.unit.samples import settings_of

FLOW = settings_of(file=__file__)


@pytest.fixture
def context() -> Iterator[OpExecutionContext]:
    with DagsterInstance.ephemeral() as instance, build_op_context(instance=instance) as made:
        yield made  # type: ignore[misc]


def run(
    context: OpExecutionContext, code: str, limit: Limit | None = None, **extra: str
) -> tuple[CapturedProcess, bytes, bytes]:
    """Run Python code; how it ended, and what it wrote."""
    with captured_process(FLOW, context, [sys.executable, "-c", code], extra) as process:
        process.wait(limit)
    return process, written(process.stdout), written(process.stderr)


def written(log: StreamLog) -> bytes:
    return re.sub(rb"^\[MFLOG[^\]]+\]", b"", log.text(), flags=re.MULTILINE)


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
    code = f"{lines}; sys.stderr.write(('y' * 9_999 + chr(10)) * 250)"
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
    stream: io.TextIOWrapper | io.StringIO, shown: bytes | None
) -> None:
    content = "✓ a\n".encode() * 2
    log = StreamLog()
    copy_lines(io.BytesIO(content), [stream], log)
    assert written(log) == content
    if shown is not None:
        assert stream.buffer.getvalue() == shown * 2  # type: ignore[union-attr]


@pytest.mark.slow
def test_process_that_leaves_another_is_not_waited_for(context: OpExecutionContext) -> None:
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


def test_process_is_where_the_flow_is(context: OpExecutionContext) -> None:
    _, stdout, _ = run(context, "import os; print(os.getcwd())")
    assert stdout.decode() == f"{Path(__file__).parent}\n"


def test_flow_that_is_not_there(context: OpExecutionContext) -> None:
    flow = settings_of(file="/none/flow.py")
    with (
        pytest.raises(Failure, match=r"/none/flow\.py is not there\. Bring the flow along"),
        captured_process(flow, context, [sys.executable, "-c", ""], {}),
    ):
        pass


@pytest.mark.slow
def test_limit(context: OpExecutionContext) -> None:
    code = "import time; print('early', flush=True); time.sleep(60)"
    process, stdout, _ = run(context, code, Limit(2, "it had its time.", is_final=True))
    assert process.ending() == ": it had its time."
    assert stdout == b"early\n"
    failure = step_failure(context, "It failed", process, True, {})
    assert isinstance(failure, Failure)
    assert failure.allow_retries is False


def test_limit_that_is_not_reached(context: OpExecutionContext) -> None:
    process, _, _ = run(context, "", Limit(60, "it had its time.", is_final=True))
    assert process.ending() == " with exit code 0."


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures in Linux's unit")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("[print('x' * 99) for _ in range(1_000_000)]", id="lines"),
        pytest.param("[print('x' * 99, end='') for _ in range(1_000_000)]; print()", id="line"),
    ],
)
def test_a_flood_of_output_takes_little_memory(
    context: OpExecutionContext, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    run(context, "")  # so that all is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Nowhere())
        with captured_process(
            FLOW, context, [sys.executable, "-c", f"{code}; print('the end')"], {}
        ) as process:
            process.wait(None)
        stored = len(process.stdout.text())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert process.returncode == 0
    assert grown < 3 * (LOG_BYTES + LOG_LAST_BYTES) / 1024  # KiB
    assert stored < LOG_BYTES + LOG_LAST_BYTES + 1000
    stdout = written(process.stdout)
    assert stdout.startswith(b"x" * 99)
    assert stdout.endswith(b"x\nthe end\n")
    assert b" lines are left out here" in stdout


def failed(context: OpExecutionContext, returncode: int, stderr: bytes = b"") -> CapturedProcess:
    code = f"import os, sys; os.write(2, {stderr!r}); sys.exit({returncode})"
    return run(context, code)[0]


@pytest.mark.parametrize(
    ("returncode", "may_retry", "most", "tries"),
    [
        pytest.param(1, True, 1, 2, id="retries left"),
        pytest.param(1, False, 1, 1, id="no retries left"),
        pytest.param(1, True, 0, 1, id="no retry policy"),
        pytest.param(202, True, 1, 1, id="Metaflow forbids it"),
    ],
)
def test_step_failure(returncode: int, may_retry: bool, most: int, tries: int) -> None:
    @op(retry_policy=RetryPolicy(max_retries=most) if most else None)
    def fails(context: OpExecutionContext) -> None:
        process = failed(context, returncode, b"1\nlast\n")
        raise step_failure(context, "Step a failed", process, may_retry, {"attempt": 0})

    @job
    def failing() -> None:
        fails()

    result = failing.execute_in_process(raise_on_error=False)
    said = f"Step a failed with exit code {returncode}.\n1\nlast"
    (failure,) = result.get_step_failure_events()
    assert sum(event.is_step_up_for_retry for event in result.all_events) == tries - 1
    shown = failure.step_failure_data.user_failure_data
    assert shown is not None
    assert shown.description == said
    assert set(shown.metadata) == {"attempt", "exit code"}


def test_last_lines(context: OpExecutionContext) -> None:
    stderr = b"".join(b"%d\n" % i for i in range(1000)) + b"\xff end"
    lines = failed(context, 1, stderr).stderr.last_lines()
    assert len(lines) == ERROR_LINES
    assert lines[-1] == "\ufffd end"
    assert failed(context, 1).stderr.last_lines() == []


def test_exit_code_is_that_of_metaflow() -> None:
    from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY

    assert EXIT_DISALLOW_RETRY == METAFLOW_EXIT_DISALLOW_RETRY


def test_limit_that_no_clock_knows_can_be_waited_for(context: OpExecutionContext) -> None:
    process, stdout, _ = run(context, "print(5)", Limit(1e300, "", is_final=True))
    assert (process.returncode, stdout) == (0, b"5\n")
