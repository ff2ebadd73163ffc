"""A flow whose ops run in threads of one process: the logs of each are its own."""

from __future__ import annotations

import re
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from tests.project import Project, new_project
from tests.support import DagsterRun, use_client

pytestmark = pytest.mark.slow

FLOW = """
import sys
from metaflow import FlowSpec, card, catch, current, retry, step

class ThreadedFlow(FlowSpec):
    @step
    def start(self):
        self.outer = ["a", "b", "c"]
        self.next(self.middle, foreach="outer")

    @step
    def middle(self):
        self.letter = self.input
        self.inner = [1, 2]
        self.next(self.work, foreach="inner")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        self.label = f"{self.letter}{self.input}"
        print(f"{self.label} attempt {current.retry_count}")
        print(f"{self.label} complains", file=sys.stderr)
        if self.label == "b2" and current.retry_count == 0:
            raise ValueError("once more")
        self.next(self.inner_join)

    @catch(var="trouble")
    @step
    def inner_join(self, inputs):
        self.names = [one.label for one in inputs]
        if "c1" in self.names:
            raise ValueError("caught")
        self.next(self.outer_join)

    @step
    def outer_join(self, inputs):
        self.names = [one.names for one in inputs]
        self.troubles = [one.trouble and str(one.trouble).split()[-1] or "" for one in inputs]
        self.next(self.end)

    @step
    def end(self):
        print("the end")

if __name__ == "__main__":
    ThreadedFlow()
"""
NAMES = {
    f"op_work[{outer}_{inner}]": f"{letter}{inner + 1}"
    for outer, letter in enumerate("abc")
    for inner in range(2)
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("threaded")
    return new_project(directory, "ThreadedFlow", FLOW, "--max-workers=4")


@pytest.fixture(scope="module")
def run(project: Project) -> DagsterRun:
    """The run, by `dagster job execute`."""
    assert project.start().wait(180) == 0
    return project.dagster_run()


@pytest.fixture(scope="module")
def instance(project: Project) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(project.home)) as opened:
        yield opened


def captured(instance: DagsterInstance, run: DagsterRun) -> Iterator[tuple[str, list[str]]]:
    """The ops of which Dagster has captured the output, attempt by attempt, each with the key."""
    for entry in instance.all_logs(run.dagster_run_id):
        event = entry.dagster_event
        if event and event.event_type_value == "LOGS_CAPTURED":
            (key,) = event.logs_captured_data.step_keys or []
            file_key = event.logs_captured_data.file_key
            manager = instance.compute_log_manager
            yield key, [*manager.build_log_key_for_run(run.dagster_run_id, file_key)]


def output(instance: DagsterInstance, log_key: list[str]) -> str:
    """What was captured under a key."""
    data = instance.compute_log_manager.get_log_data(log_key)
    return f"{(data.stdout or b'').decode()}{data.stderr!r}"


def test_result_is_that_of_metaflow(project: Project, run: DagsterRun) -> None:
    from metaflow import Run

    assert run.succeeded, run.failures
    use_client(project.directory)
    result = Run(f"ThreadedFlow/{run.metaflow_run_id}")
    assert result.successful
    assert result["outer_join"].task["names"].data == [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]
    assert str(result["outer_join"].task["troubles"].data) == "['', '', 'caught']"


def test_each_op_has_its_logs(instance: DagsterInstance, run: DagsterRun) -> None:
    logs: dict[str, list[str]] = {}
    for key, log_key in captured(instance, run):
        assert instance.compute_log_manager.is_capture_complete(log_key)
        logs.setdefault(key, []).append(output(instance, log_key))
    assert Counter({key: len(texts) for key, texts in logs.items() if len(texts) > 1}) == {
        "op_work[1_1]": 2,
    }
    for key, name in NAMES.items():
        said = "".join(logs[key])
        assert set(re.findall(r"([abc]\d) (?:attempt|complains)", said)) == {name}
    assert logs["op_end"] == ["the end\nb''"]


def test_metaflow_has_the_same_logs(project: Project, run: DagsterRun) -> None:
    from metaflow import Step

    use_client(project.directory)
    tasks = list(Step(f"ThreadedFlow/{run.metaflow_run_id}/work"))
    assert len(tasks) == len(NAMES)
    for task in tasks:
        name = task["label"].data
        attempt = 1 if name == "b2" else 0
        assert task.stdout == f"{name} attempt {attempt}\n"
        assert task.stderr == f"{name} complains\n"


WIDE_FLOW = """
from metaflow import FlowSpec, step

class WideFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = list(range(12))
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    WideFlow()
"""
FILES = 64


def test_few_open_files_are_allowed(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    project = new_project(tmp_path, "WideFlow", WIDE_FLOW, "--max-workers=16")
    warnings = []
    for limits in ((FILES, most), (FILES, FILES)):
        process = project.start()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        assert process.wait(180) == 0
        with DagsterInstance.from_config(str(project.home)) as opened:
            entries = opened.all_logs(project.dagster_run().dagster_run_id)
        warnings.append(
            [entry.user_message for entry in entries if "files open" in entry.user_message]
        )
    raised, (fewer,) = warnings
    assert raised == []
    assert re.match(rf"At most \d ops run at once instead of 16, .* {FILES} files open", fewer)
