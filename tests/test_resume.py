"""A run that failed is carried on, by re-execution or as a new run, and nothing runs twice."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.docs.pages import block_of
from tests.project import Project, new_project
from tests.support import DagsterRun, checked, use_client

pytestmark = pytest.mark.slow

RESUME = block_of("docs/semantics.md", "Carrying on after a failure", "sh").text

# Fails in a foreach in a foreach, and in a loop, as long as there are no files `…_ok`.
FLOW = """
import os
from metaflow import FlowSpec, Parameter, current, retry, step

class ResumedFlow(FlowSpec):
    size = Parameter("size", default=2)
    word = Parameter("word", default="none")

    @step
    def start(self):
        {counter}
        self.word_seen = self.word
        self.outer = list(range(self.size))
        self.next(self.load, foreach="outer")

    @step
    def load(self):
        {counter}
        self.number = self.input
        self.inner = ["a", "b"]
        self.next(self.fit, foreach="inner")

    @step
    def fit(self):
        {counter}
        if (self.number, self.input) == (1, "b") and not os.path.exists("fit_ok"):
            raise ValueError("no luck")
        self.result = f"{self.number}{self.input}"
        self.next(self.best)

    @step
    def best(self, inputs):
        {counter}
        self.results = [one.result for one in inputs]
        self.word_seen = inputs[0].word_seen
        self.next(self.join)

    @step
    def join(self, inputs):
        {counter}
        self.results = [result for one in inputs for result in one.results]
        self.word_seen = inputs[0].word_seen
        self.rounds = 0
        self.next(self.loop)

    @step
    def loop(self):
        {counter}
        if self.rounds == 2 and not os.path.exists("loop_ok"):
            raise ValueError("no luck either")
        self.rounds += 1
        self.more = "yes" if self.rounds < 4 else "no"
        self.origin = current.origin_run_id
        self.next({"yes": self.loop, "no": self.end}, condition="more")

    @step
    def end(self):
        {counter}
        self.text = 'first'

if __name__ == "__main__":
    ResumedFlow()
"""

PARAMETERS = {"ops": {"op_start": {"config": {"size": 3, "word": "given"}}}}
FITS = {f"fit/fit-{outer}-{inner}" for outer in range(3) for inner in range(2)}
LOOP = [f"loop/loop{repetition}" for repetition in ("", "-r1", "-r2", "-r3")]


@dataclass(frozen=True)
class FailedRun:
    """A run that has failed in `fit`, in a project that nothing else has been done in."""

    project: Project
    run: DagsterRun


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> FailedRun:
    directory = tmp_path_factory.mktemp("resumed")
    project = new_project(directory, "ResumedFlow", FLOW)
    run = project.run(config=PARAMETERS)
    assert not run.succeeded
    return FailedRun(project, run)


@pytest.fixture
def failed(template: FailedRun, tmp_path: Path) -> FailedRun:
    directory = tmp_path / "resumed"
    shutil.copytree(template.project.directory, directory)
    (directory / "counted").unlink()
    return replace(template, project=replace(template.project, directory=directory))


# What has to run after `fit` may succeed: the loop fails in its third round at first.
BEST = [f"best/best-{outer}" for outer in range(3)]
REST = Counter(["fit/fit-1-1", *BEST, "join/join", *LOOP, "end/end"])


def allow(project: Project, *names: str) -> None:
    for name in names:
        (project.directory / name).touch()


def assert_result(project: Project, run_id: str) -> None:
    """The run is what a native run with the same parameters is."""
    from metaflow import Run

    use_client(project.directory)
    run = Run(f"ResumedFlow/{run_id}")
    assert run.successful
    assert run["join"].task["results"].data == ["0a", "0b", "1a", "1b", "2a", "2b"]
    end = run["end"].task
    assert [end[name].data for name in ("rounds", "word_seen", "word")] == [4, "given", "given"]


def test_re_execution_from_failure_continues_the_run(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    allow(project, "fit_ok")
    second = project.run(after=run.dagster_run_id, config=PARAMETERS)
    assert not second.succeeded
    allow(project, "loop_ok")
    third = project.run(after=second.dagster_run_id, config=PARAMETERS)
    assert third.succeeded, third.failures
    assert {second.metaflow_run_id, third.metaflow_run_id} == {run.metaflow_run_id}
    assert_result(project, run.metaflow_run_id)
    assert Counter(project.counted()) == REST + Counter(["loop/loop-r2"])
    commands = [*second.commands, *third.commands]
    assert [
        " --retry-count=1 " in command for command in commands if " --task-id=fit-1-1 " in command
    ] == [True]


def test_re_execution_finds_the_outputs_of_the_run_in_the_datastore(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    (outputs,) = (project.directory / ".metaflow" / "mf.dagster.outputs").iterdir()
    assert outputs.name == run.dagster_run_id
    allow(project, "fit_ok", "loop_ok")
    kept = outputs.rename(outputs.with_name("elsewhere"))
    second = project.run(after=run.dagster_run_id, config=PARAMETERS)
    missing = f"does not hold the output mf.dagster.outputs/{run.dagster_run_id}/fan_out_load/"
    assert any(missing in failure for failure in second.failures), second.failures
    assert project.counted() == []
    kept.rename(outputs)
    again = project.run(after=run.dagster_run_id, config=PARAMETERS)
    assert again.succeeded, again.failures
    assert Counter(project.counted()) == REST


def test_op_that_is_chosen_runs_again(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    again = project.run(after=run.dagster_run_id, config=PARAMETERS, steps=["op_load[0]"])
    assert again.succeeded, again.failures
    assert project.counted() == ["load/load-0"]
    (command,) = again.commands
    assert f"--run-id={run.metaflow_run_id} " in command
    assert " --retry-count=1 " in command


def test_resumed_run_clones_what_has_finished(failed: FailedRun) -> None:
    from metaflow import Run

    project, run = failed.project, failed.run
    allow(project, "fit_ok")
    second = project.run(tags={"metaflow/origin_run_id": run.metaflow_run_id})
    assert not second.succeeded
    allow(project, "loop_ok")
    third = project.run(tags={"metaflow/origin_run_id": second.metaflow_run_id})
    assert third.succeeded, third.failures
    assert len({each.metaflow_run_id for each in (run, second, third)}) == 3
    assert_result(project, third.metaflow_run_id)
    assert Counter(project.counted()) == REST + Counter(["loop/loop-r2"])
    metaflow_run = Run(f"ResumedFlow/{third.metaflow_run_id}")
    origin = f"ResumedFlow/{second.metaflow_run_id}"
    assert metaflow_run["start"].task.origin_pathspec == f"{origin}/start/start"
    assert metaflow_run["end"].task.origin_pathspec is None
    assert metaflow_run["end"].task["origin"].data == second.metaflow_run_id


def test_resume_from_a_step(failed: FailedRun) -> None:
    from metaflow import Run

    project, run = failed.project, failed.run
    allow(project, "fit_ok", "loop_ok")
    project.flow_file.write_text(project.flow_file.read_text().replace("'first'", "'second'"))
    tags = {"metaflow/origin_run_id": run.metaflow_run_id, "metaflow/resume_step": "load"}
    resumed = project.run(tags=tags)
    assert resumed.succeeded, resumed.failures
    assert Counter(project.counted()) == REST | Counter(
        [*FITS, *(f"load/load-{i}" for i in range(3))]
    )
    assert_result(project, resumed.metaflow_run_id)
    assert Run(f"ResumedFlow/{resumed.metaflow_run_id}")["end"].task["text"].data == "second"


def test_file_that_resumes_a_run(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    allow(project, "fit_ok", "loop_ok")
    project.create("--origin-run-id", run.metaflow_run_id)
    resumed = project.run()
    assert resumed.succeeded, resumed.failures
    assert_result(project, resumed.metaflow_run_id)
    assert Counter(project.counted()) == REST


def test_metaflows_own_resume_takes_over(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    allow(project, "fit_ok", "loop_ok")
    id_file = project.directory / "resumed-id"
    options = ["--origin-run-id", run.metaflow_run_id, "--run-id-file", str(id_file)]
    checked([sys.executable, "flow.py", "--quiet", "resume", *options], project.directory)
    assert_result(project, id_file.read_text())
    assert len(project.counted()) == REST.total()


def test_command_that_resumes(failed: FailedRun) -> None:
    project, run = failed.project, failed.run
    allow(project, "fit_ok", "loop_ok")
    options = ["--definitions-file", project.definitions.name, "--run-id-file", "resumed-id"]
    *_, command, option, _ = shlex.split(RESUME)
    project.metaflow("dagster", command, option, run.metaflow_run_id, *options, "--wait")
    resumed = (project.directory / "resumed-id").read_text()
    assert_result(project, resumed)
    assert Counter(project.counted()) == REST
    refused = subprocess.run(
        [sys.executable, "flow.py", "dagster", "resume", "--run-id", resumed, *options[:2]],
        cwd=project.directory,
        env={**os.environ, **project.variables},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
