"""Flows are compiled where none has been compiled before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from metaflow_dagster.diagnostics import CompileError, Diagnostic, InternalError
from metaflow_dagster.forked import ChildLost, ErrorInChild, in_child
from metaflow_dagster.ir.flow import Location

EXTENSION = Path(__file__).parents[1] / "extension"

# A class of `__main__`, of a process with threads, as that of a notebook.
SCRIPT = """
import threading, time
from metaflow import FlowSpec, illustrated, step
from metaflow_dagster import CompileError, synthesize

class ShownFlow(FlowSpec):
    @illustrated
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    threading.Thread(target=time.sleep, args=[60], daemon=True).start()
    first, second = synthesize(ShownFlow), synthesize(ShownFlow)
    assert first == second
    assert 'cards=CardLinks(["start"])' in second
    try:
        synthesize(ShownFlow, pools=["nope=1"])
    except CompileError as error:
        (diagnostic,) = error.diagnostics
        print(diagnostic)
"""


def test_second_text_is_the_first(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, "shown.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXTENSION)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("--pool nope=… is for a step that ShownFlow does not have.")
    assert result.stderr == ""


STATE: list[str] = []


def test_result_comes_out_and_changes_do_not(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> list[str]:
        STATE.append("changed")
        print("said")
        print("warned", file=sys.stderr)
        return STATE

    assert in_child(work) == ["changed"]
    assert STATE == []
    assert capfd.readouterr() == ("said\n", "warned\n")


class WithArguments(Exception):
    """An error that `pickle` cannot make again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


DIAGNOSTIC = Diagnostic("wrong", "Fix it.", "start", Location("flow.py", 3))


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (CompileError([DIAGNOSTIC]), CompileError, "flow.py:3: step start: wrong Fix it."),
        (InternalError("Broken."), InternalError, str(InternalError("Broken."))),
        (TypeError("no flow"), TypeError, "no flow"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (SystemExit(3), SystemExit, "3"),
        (WithArguments("a", "b"), RuntimeError, "WithArguments: a and b"),
    ],
)
def test_errors(error: BaseException, kind: type[BaseException], text: str) -> None:
    def work() -> None:
        raise error

    with pytest.raises(kind) as caught:
        in_child(work)
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert getattr(caught.value, "diagnostics", (DIAGNOSTIC,)) == (DIAGNOSTIC,)
    assert isinstance(caught.value.__cause__, ErrorInChild)
    assert "in work" in str(caught.value.__cause__)


def test_result_that_cannot_be_pickled() -> None:
    with pytest.raises(RuntimeError, match="lambda"):
        in_child(lambda: lambda: None)


@pytest.mark.parametrize(
    ("end", "said"), [("os.kill(os.getpid(), 9)", "signal 9"), ("os._exit(7)", "exit code 7")]
)
def test_child_that_is_killed(end: str, said: str) -> None:
    with pytest.raises(ChildLost, match=said):
        in_child(lambda: exec(end))


def test_grandchild_is_not_waited_for() -> None:
    def work() -> int:
        if grandchild := os.fork():
            return grandchild
        threading.Event().wait(60)
        os._exit(0)

    grandchild = in_child(work)
    os.kill(grandchild, 9)


def test_threads_stay_where_they_are() -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert in_child(lambda: threading.active_count()) == 1
    finally:
        let_go.set()
        thread.join()
