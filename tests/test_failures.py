"""Steps that end in other ways than by returning: Dagster says what Metaflow says."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from metaflow_dagster import synthesize
from tests.support import (
    DagsterRun,
    checked,
    dagster_run,
    load_module,
    use_client,
    working_directory,
)

pytestmark = pytest.mark.slow

FLOW = """
import os, signal, subprocess, sys
from metaflow import FlowSpec, catch, retry, step

class FailingFlow(FlowSpec):
    {decorators}
    @step
    def start(self):
        self.runs = os.environ["METAFLOW_RUN_ID"]
        {body}
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    FailingFlow()
"""


@dataclass(frozen=True)
class Ending:
    """How the first step of a flow ends, and how its op then has to."""

    body: str
    decorators: str = ""
    message: str = ""  # of Dagster's failure; empty if the run has to succeed
    attempts: int = 1


ENDINGS = [
    pytest.param(Ending("raise ValueError('no luck')", message="ValueError: no luck"), id="raise"),
    pytest.param(Ending("sys.exit(0)", message="before it called self.next"), id="exit 0"),
    pytest.param(Ending("os._exit(0)", message="before Metaflow could store"), id="_exit 0"),
    pytest.param(Ending("sys.exit(3)", message="exit code 3"), id="exit 3"),
    pytest.param(
        Ending("os.kill(os.getpid(), signal.SIGKILL)", message="ended by SIGKILL"), id="killed"
    ),
    pytest.param(
        Ending(
            "raise ValueError('again')",
            "@retry(times=2, minutes_between_retries=0)",
            "ValueError: again",
            3,
        ),
        id="retries used up",
    ),
    pytest.param(
        Ending("os._exit(202)", "@retry(times=2, minutes_between_retries=0)", "exit code 202"),
        id="retry disallowed",
    ),
    pytest.param(
        Ending("raise ValueError('caught')", "@catch(var='failure')", attempts=1), id="caught"
    ),
    pytest.param(
        Ending("os.kill(os.getpid(), signal.SIGKILL)", "@catch(var='failure')", attempts=2),
        id="kill caught",
    ),
]


def run_flow(directory: Path, body: str, decorators: str = "") -> DagsterRun:
    """Write a flow, compile it, run its job in this process."""
    from dagster import DagsterInstance

    (directory / ".metaflow").mkdir()
    flow_file = directory / "failing_flow.py"
    flow_file.write_text(textwrap.dedent(FLOW).format(body=body, decorators=decorators))
    output = directory / "failingflow_dagster.py"
    output.write_text(synthesize(load_module(flow_file).FailingFlow, output=output))
    job = load_module(output).FailingFlow
    with working_directory(directory), DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        return dagster_run(instance, result.run_id)


@pytest.mark.parametrize("ending", ENDINGS)
def test_ending(ending: Ending, tmp_path: Path) -> None:
    from metaflow import Run

    run = run_flow(tmp_path, ending.body, ending.decorators)
    use_client(tmp_path)
    metaflow_run = Run(f"FailingFlow/{run.metaflow_run_id}")
    assert metaflow_run.successful is run.succeeded is (not ending.message)
    assert sum(" step start " in command for command in run.commands) == ending.attempts
    if ending.message:
        assert any(ending.message in failure for failure in run.failures)
        assert [step.id for step in metaflow_run] == ["start"]
    else:
        assert "FailureHandledByCatch" in repr(metaflow_run["start"].task["failure"].data) or (
            "caught" in str(metaflow_run["start"].task["failure"].data)
        )


@pytest.mark.parametrize("decorators", ["", "@retry(times=1, minutes_between_retries=0)"])
def test_dagster_shows_the_error_of_the_user_alone(decorators: str, tmp_path: Path) -> None:
    body = "try: {}['missing']\n        except KeyError as e: raise ValueError('no luck') from e"
    run = run_flow(tmp_path, body, decorators)
    assert len(run.errors) == (2 if decorators else 1)
    for error in run.errors:
        assert "KeyError: 'missing'" in error
        assert "ValueError: no luck" in error
        assert 'failing_flow.py", line 1' in error
        assert "/dagster/" not in error
        assert "/metaflow/" not in error
        assert "failingflow_dagster.py" not in error


def test_step_knows_its_run(tmp_path: Path) -> None:
    from metaflow import Run

    run = run_flow(tmp_path, "pass")
    use_client(tmp_path)
    task = Run(f"FailingFlow/{run.metaflow_run_id}")["start"].task
    assert task["runs"].data == run.metaflow_run_id


def test_what_a_step_leaves_running_does_not_hold_the_op_up(tmp_path: Path) -> None:
    started = time.monotonic()
    run = run_flow(tmp_path, "subprocess.Popen(['sleep', '50'])")
    assert run.succeeded
    assert time.monotonic() - started < 45


HEADER = re.compile(rb"\[MFLOG[^\]]+\]")  # in the middle of a line that another had not ended

# The first attempt fails, and its errors end without a newline; the second one writes 11 MiB.
SPEAK = r"""
        from metaflow import current
        out, lines = sys.stdout.buffer, 60 if current.retry_count else 1
        out.write("x{}\n".format("é" * 60_000).encode())
        out.write(b"NUL \x00, \xff, \r in\r\n\n" + b"".join(
            b"%03d" % number + "é".encode() * 90_000 + b"\n" for number in range(lines)
        ))
        out.write("€".encode() * 300_000 + b" end")
        out.flush()
        os.write(2, b"no newline \xff")
        if not current.retry_count: sys.exit(3)
"""


def test_logs_are_those_of_metaflow(tmp_path: Path) -> None:
    from metaflow import Step, Task

    run = run_flow(tmp_path, SPEAK.strip(), "@retry(times=1, minutes_between_retries=0)")
    assert run.succeeded, run.failures
    checked([sys.executable, "failing_flow.py", "run", "--run-id-file=native"], tmp_path)
    use_client(tmp_path)
    native = f"FailingFlow/{(tmp_path / 'native').read_text()}/start/1"
    compiled = f"FailingFlow/{run.metaflow_run_id}/start"
    (name,) = [task.path_components[-1] for task in Step(compiled)]
    for attempt in range(2):
        tasks = [Task(path, attempt=attempt) for path in (native, f"{compiled}/{name}")]
        for stream in ("stdout", "stderr"):
            expected, actual = (
                [HEADER.sub(b"[]", line) for _, line in task.loglines(stream, False)]
                for task in tasks
            )
            *whole, _truncated = expected
            is_cut = b"TRUNCATED" in expected[-1]
            assert is_cut == (attempt == 1 and stream == "stdout")
            assert actual[: len(whole)] == whole if is_cut else actual == expected
    assert actual == [b"no newline \xff"]
