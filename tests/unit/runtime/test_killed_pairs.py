"""Of a run nothing is left, whichever two of its processes are killed, one after the other."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.unit.runtime.test_guard import comes_true, is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

# A step with a child, a daemon in a session of its own, and a child without environment.
STEP = """
import os, pathlib, subprocess, sys, time
sleep = ["sleep", "100"]
children = [
    subprocess.Popen(sleep),
    subprocess.Popen(sleep, start_new_session=True),
    subprocess.Popen(sleep, env={}),
]
file = pathlib.Path(sys.argv[1], "step")
file.with_name("new").write_text(" ".join(map(str, [os.getpid(), *(one.pid for one in children)])))
file.with_name("new").rename(file)
time.sleep(100)
"""

# Each run in a process that is forked, as the imports take a while; the second half of them warm.
RUNS = """
import json, os, pathlib, sys
from dagster import build_op_context
from metaflow_dagster.runtime import op_threads, process, starting, warm
from metaflow_dagster.runtime.settings import FlowSettings

flow = FlowSettings(name="MyFlow", here="/", end_event="end", next_steps={}, file=sys.argv[1])
fresh, warm_ones = map(json.loads, sys.argv[2:])

def run(directory, processes):
    pathlib.Path(directory, "run").write_text(str(os.getpid()))
    with processes() as start:
        thread = op_threads.OpThread(op_threads.Interruption(), [], [], start)
        with op_threads.in_op_thread(thread):
            words = [sys.executable, sys.argv[1], directory]
            with process.captured_process(flow, build_op_context(), words, {}) as captured:
                captured.wait(None)

for directories, processes in (
    (fresh, starting.fresh_processes), (warm_ones, warm.warm_processes(flow))
):
    for directory in directories:
        if os.fork() == 0:
            run(directory, processes)
            os._exit(0)
for directory in [*fresh, *warm_ones]:
    os.wait()
"""

# A run whose op has a process of its own.
JOB = """
import os, pathlib, sys
from dagster import DagsterInstance, execute_job, job, multiprocess_executor, op, reconstructable
from metaflow_dagster.runtime import process
from metaflow_dagster.runtime.settings import FlowSettings

flow = FlowSettings(
    name="MyFlow", here="/", end_event="end", next_steps={}, file=os.environ["STEP_FILE"]
)

@op
def sleeping_op(context):
    words = [sys.executable, os.environ["STEP_FILE"], os.environ["DIRECTORY"]]
    with process.captured_process(flow, context, words, {}) as captured:
        captured.wait(None)

@job(executor_def=multiprocess_executor)
def sleeping_job():
    sleeping_op()

if __name__ == "__main__":
    pathlib.Path(os.environ["DIRECTORY"], "run").write_text(str(os.getpid()))
    with DagsterInstance.get() as instance:
        execute_job(reconstructable(sleeping_job), instance)
"""

FRESH = ("run", "step", "guard", "second guard")
WARM = (*FRESH, "server")
MULTIPROCESS = ("run", "op", "step", "guard")


@dataclass
class Sleeping:
    """A run that stays in its step, and the two of its processes that are killed."""

    directory: Path
    killed: tuple[str, str]
    pids: set[int] = field(default_factory=set)  # of all that it was ever seen to have

    @property
    def run(self) -> int:
        return int((self.directory / "run").read_text())

    @property
    def step(self) -> list[int]:
        """The process of the step, and those that it has started."""
        return [int(pid) for pid in (self.directory / "step").read_text().split()]

    def processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.run).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def found(self, words: str) -> list[int]:
        """The processes of the run with some words in their command lines."""
        return [process.pid for process in self.processes() if words in " ".join(process.cmdline())]

    def guards(self) -> list[int]:
        return self.found("stop_processes")

    def pid(self, part: str) -> int:
        """The process of a part."""
        found = {
            "run": lambda: [self.run],
            "step": lambda: self.step,
            "guard": self.guards,
            "second guard": lambda: self.guards()[1:],
            "server": lambda: self.found("control = socket.socket"),
            "op": lambda: self.found("spawn_main"),
        }
        return found[part]()[0]

    def remember(self) -> None:
        """Note what there is, before something is killed."""
        self.pids |= {self.run, *self.step, *(process.pid for process in self.processes())}

    def kill(self, pid: int) -> None:
        self.remember()
        os.kill(pid, signal.SIGKILL)

    @property
    def goes_on(self) -> bool:
        """Whether the run and its step are not to end."""
        return not {"run", "step", "op"}.intersection(self.killed)

    def left(self) -> set[int]:
        return {pid for pid in self.pids if is_alive(pid)}


def sleeping(directory: Path, parts: Sequence[str], special: str = "") -> list[Sleeping]:
    """A run for each ordered pair of parts, of which a special one is one, if there is any."""
    found = []
    for killed in itertools.permutations(parts, 2):
        if special and special not in killed:
            continue
        place = directory / " then ".join(killed)
        place.mkdir(parents=True)
        found.append(Sleeping(place, killed))
    return found


def assert_nothing_is_left(runs: Sequence[Sleeping], seconds: float) -> None:
    """Kill one part of each run, after some seconds the other, and at last what should go on."""
    assert comes_true(lambda: all((each.directory / "step").exists() for each in runs), 100)
    assert comes_true(lambda: all(len(each.guards()) == 2 for each in runs), 10)
    targets = [[each.pid(part) for part in each.killed] for each in runs]
    for run, (first, _) in zip(runs, targets, strict=True):
        run.kill(first)
    time.sleep(seconds)
    for run, (_, second) in zip(runs, targets, strict=True):
        with suppress(ProcessLookupError):  # as it may have ended with the first, by now
            run.kill(second)
    time.sleep(1)
    for each in runs:
        if each.goes_on:
            assert is_alive(each.step[0]), each.killed
            each.kill(each.run)
    comes_true(lambda: not any(each.left() for each in runs), 15)
    assert {each.killed: left for each in runs if (left := each.left())} == {}


@pytest.fixture
def step_file(tmp_path: Path) -> Iterator[Path]:
    """The file of the step; at last everything that mentions the directory is ended."""
    file = tmp_path / "step.py"
    file.write_text(STEP)
    yield file
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or ()):
            process.kill()


@pytest.mark.parametrize("seconds", [0.05, 1])
def test_any_two_processes_of_a_run_are_killed(step_file: Path, seconds: float) -> None:
    """Run, step, guard or step server, one up to a second after the other: all that the run has
    started is ended within fifteen seconds, or goes on if neither was the run's or the step's."""
    fresh = sleeping(step_file.parent / "fresh", FRESH)
    warm = sleeping(step_file.parent / "warm", WARM, "server")
    places = [json.dumps([str(run.directory) for run in runs]) for runs in (fresh, warm)]
    command = [sys.executable, "-c", RUNS, str(step_file), *places]
    with subprocess.Popen(command, cwd=step_file.parent) as mother:
        try:
            assert_nothing_is_left([*fresh, *warm], seconds)
            mother.wait(20)
        finally:
            mother.kill()


def test_process_of_the_op_is_killed_with_another_one(
    step_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that of the run, the step or the guard: the same."""
    from dagster import DagsterInstance

    home = step_file.parent / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_config(str(home)) as instance:
        instance.event_log_storage.get_maximum_record_id()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("STEP_FILE", str(step_file))
    (step_file.parent / "sleeping.py").write_text(JOB)
    runs = sleeping(step_file.parent / "ops", MULTIPROCESS, "op")
    processes = [
        subprocess.Popen(
            [sys.executable, "sleeping.py"],
            cwd=step_file.parent,
            env={**os.environ, "DIRECTORY": str(run.directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for run in runs
    ]
    try:
        assert_nothing_is_left(runs, 0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait()
