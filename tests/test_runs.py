"""Every golden flow, run by Metaflow and by Dagster: what the runs leave behind is the same."""

from __future__ import annotations

import pickle
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.golden import FLOW_CASES, Case
from tests.support import (
    DagsterRun,
    RunSnapshot,
    TaskSnapshot,
    Workspace,
    checked,
    differences,
    evaluated,
    log_differences,
    started_afresh,
    typed,
    use_client,
)


class Runs:
    """The runs of one case: natively, in this process, and by `dagster job execute`.

    There, a step server forks the processes of steps if ops run in threads; in `fresh`, none does.
    """

    def __init__(self, workspace: Workspace, case: Case) -> None:
        self.workspace = workspace
        self.case = case
        self._snapshots: dict[str, RunSnapshot] = {}

    @cached_property
    def native(self) -> RunSnapshot:
        run_id = self.workspace.run_natively(self.case, self.case.parameters)
        return self.workspace.snapshot(self.case, run_id)

    @cached_property
    def in_process(self) -> DagsterRun:
        return self.workspace.run_in_process(self.case, self.case.parameters)

    @cached_property
    def executed(self) -> DagsterRun:
        return self.workspace.execute(self.case)

    @cached_property
    def fresh(self) -> DagsterRun:
        return self.workspace.execute_fresh(self.case)

    def dagster(self, way: str) -> DagsterRun:
        """What Dagster says of the run, which has succeeded."""
        run: DagsterRun = getattr(self, way)
        assert run.succeeded, run.failures
        return run

    def snapshot(self, way: str) -> RunSnapshot:
        """What Metaflow says of the run that Dagster ran."""
        if way not in self._snapshots:
            run_id = self.dagster(way).metaflow_run_id
            self._snapshots[way] = self.workspace.snapshot(self.case, run_id)
        return self._snapshots[way]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace") / "fixtures")


@pytest.fixture(scope="session")
def runs_of(workspace: Workspace) -> Callable[[str], Runs]:
    """The runs of a case by its name; they are the same ones for all tests."""
    cases = {str(case): case for case in FLOW_CASES}
    return cache(lambda name: Runs(workspace, cases[name]))


@pytest.fixture
def runs(request: pytest.FixtureRequest, runs_of: Callable[[str], Runs]) -> Runs:
    """The runs of the case that the test's id begins with, which decides where it runs."""
    return runs_of(request.param)


def with_runs_of(*names: str) -> Callable[[Any], Any]:
    """Decorate a test that takes the runs of these cases one after the other."""
    cases = pytest.mark.parametrize("runs", names, indirect=True)
    return lambda test: pytest.mark.slow(cases(test))


# To most flows it makes no difference what executes the ops.
SEVERAL_WAYS = (
    "linear",
    "linear_options",
    "foreach",
    "nested_branches",
    "params",
    "environment_vars",
    "retries",
    "cards",
)
WAYS = [
    (str(case), way)
    for case in FLOW_CASES
    for way in ("in_process", "executed", "fresh")
    if way == "executed" or str(case) in SEVERAL_WAYS
]


def every_case_each_way(test: Any) -> Any:
    """Decorate a test that takes every case, in each of its ways."""
    ways = pytest.mark.parametrize(("runs", "way"), WAYS, indirect=["runs"])
    return pytest.mark.slow(ways(test))


every_case = with_runs_of(*map(str, FLOW_CASES))
each_way = pytest.mark.parametrize("way", ["in_process", "executed", "fresh"])


@every_case_each_way
def test_leaves_the_same_tasks_artifacts_and_tags(runs: Runs, way: str) -> None:
    assert differences(runs.native, runs.snapshot(way)) == []


@every_case_each_way
def test_metaflow_sees_a_successful_run(runs: Runs, way: str) -> None:
    assert runs.snapshot(way).successful is True
    assert runs.snapshot(way).finished is True


@every_case_each_way
def test_keeps_the_same_logs(runs: Runs, way: str) -> None:
    assert any(task.stdout for step in runs.native.tasks.values() for task in step.values())
    assert log_differences(runs.native, runs.snapshot(way)) == []


@every_case_each_way
def test_every_task_is_a_dagster_step_that_succeeded(runs: Runs, way: str) -> None:
    statuses = runs.dagster(way).statuses
    tasks = [task for step in runs.native.tasks.values() for task in step]
    assert set(statuses.values()) == {"SUCCESS"}
    assert len(statuses) == len(tasks)


@every_case_each_way
def test_every_command_is_in_the_dagster_log(runs: Runs, way: str) -> None:
    commands = [shlex.split(command) for command in runs.dagster(way).commands]
    steps = [command[command.index("step") + 1] for command in commands if "step" in command]
    assert sum("init" in command for command in commands) == 1
    assert set(steps) == set(runs.native.tasks)
    assert all(Path(command[0]).samefile(sys.executable) for command in commands)
    assert all(Path(command[1]).name == runs.case.flow_file for command in commands)


@with_runs_of(*(name for name in SEVERAL_WAYS if name != "linear_options"))  # has processes
def test_all_processes_of_warm_steps_are_forked(runs: Runs) -> None:
    assert runs.dagster("executed").commands
    assert started_afresh(runs.workspace.starts(runs.case), runs.case.flow_file) == []


@every_case
def test_artifacts_are_retrieved_by_the_code_that_dagster_shows(runs: Runs, tmp_path: Path) -> None:
    key, snippet = max(runs.executed.snippets.items(), key=lambda item: len(item[1]))
    values = evaluated(snippet, tmp_path)
    artifacts = _task_of_key(runs.snapshot("executed"), key).artifacts
    # `name` is the flow's name, which Metaflow stores beside the user's artifacts.
    public = {f"task[{name!r}].data": name for name in artifacts if name[0] != "_"}
    del public["task['name'].data"]
    assert set(values) == set(public)
    assert all(typed(values[code]) == typed(artifacts[name]) for code, name in public.items())


def _task_of_key(snapshot: RunSnapshot, key: str) -> TaskSnapshot:
    """The task of a Dagster step such as `op_train` or `op_train[2]`."""
    op, _, item = key.removesuffix("]").partition("[")
    return snapshot.tasks[op.removeprefix("op_")][(int(item),) if item else ()]


@each_way
@with_runs_of("foreach")
def test_a_foreach_join_gets_its_inputs_in_the_order_of_the_items(runs: Runs, way: str) -> None:
    (join,) = runs.snapshot(way).tasks["join"].values()
    assert join.artifacts["positions"] == list(range(12))


@each_way
@with_runs_of("linear_options")
def test_tags_given_to_the_compiler_are_tags_of_the_run(runs: Runs, way: str) -> None:
    assert runs.snapshot(way).user_tags == set(runs.case.options["tags"])


@each_way
@with_runs_of("retries")
def test_steps_are_tried_as_often_as_metaflow_would(runs: Runs, way: str) -> None:
    commands = runs.dagster(way).commands
    attempts = [part for command in commands for part in shlex.split(command) if "retry-c" in part]
    # Item 1 of `flaky` and the step that is caught in the end take a second attempt.
    assert sorted(attempts) == ["--retry-count=0"] * 6 + ["--retry-count=1"] * 2


@with_runs_of("linear")
def test_metaflows_commands_take_the_run(runs: Runs) -> None:
    from metaflow import Run

    run_id = runs.dagster("executed").metaflow_run_id

    def metaflow(*arguments: str) -> str:
        command = [sys.executable, runs.case.flow_file, "--quiet", *arguments]
        return checked(command, runs.workspace.flows)

    assert metaflow("logs", "--stdout", f"{run_id}/fit") == "slope 2.0\n"
    assert "Größe" in metaflow("logs", "--stderr", f"{run_id}/fit/fit")
    metaflow("dump", "--private", "--file", "artifacts", f"{run_id}/fit")
    artifacts = pickle.loads((runs.workspace.flows / "artifacts").read_bytes())
    assert [artifact["slope"] for artifact in artifacts.values()] == [2.0]
    use_client(runs.workspace.root)
    metaflow("tag", "add", "--run-id", run_id, "seen")
    assert "seen" in Run(f"LinearFlow/{run_id}").user_tags
    metaflow("tag", "remove", "--run-id", run_id, "seen")
    assert "seen" not in Run(f"LinearFlow/{run_id}").user_tags


@each_way
@with_runs_of("cards")
def test_cards_are_shown(runs: Runs, way: str) -> None:
    shown = runs.dagster(way).metadata
    assert [name for name in shown["op_start"] if name.startswith("card ")] == ["card default"]
    cards = {name for name in shown["op_end"] if name.startswith("card ")}
    assert cards == {"card blank-summary", "card blank-details"}
    assert "<html" in Path(shown["op_end"]["card blank-summary"]).read_text()
    command = shlex.split(shown["op_end"]["view cards"])
    listing = [*command[:-2], "list", "--as-json", command[-1]]
    assert "blank" in checked(listing, runs.workspace.flows)


@each_way
@with_runs_of("cards")
def test_cards_are_drawn(runs: Runs, way: str) -> None:
    run_id = runs.dagster(way).metaflow_run_id
    assert runs.workspace.cards(f"CardsFlow/{run_id}/start") == [("default", None)]
    assert set(runs.workspace.cards(f"CardsFlow/{run_id}/end")) == {
        ("blank", "summary"),
        ("blank", "details"),
    }


_EVERY_PARAMETER = {
    "title": 'other "title" ✓\nin $two lines\\',
    "empty": "not any more",
    "count": -5,
    "typed": 2**70,
    "negative": 0,
    "rate": 2.5,
    "whole_rate": 0.1,
    "tiny": 1e300,
    "enabled": False,
    "disabled": True,
    "options": {"names": ["ö", {"deep": None}], "5": 1.0},
    "limits": [],
    "words": "one,two three,",
    "unset": "set",
    "unset_count": 0,
    "unset_rate": -0.0,
    "unset_flag": False,
    "unset_json": [False],
    "owner": "me",
    "lucky": 13,
    "table": "data/raw.txt",
    "raw": "data/table.csv",
    "no_file": "data/table.csv",
}
_TEXTS = {
    "title": "",
    "unset": "",
    "words": "",
    "options": '{"names": "as text"}',
    "limits": "null",
}
_EVERY_AWKWARD_PARAMETER = {
    "schema": "s",
    "json": [1],
    "self": "you",
    "my-param": 2,
    "class": "c",
    "config": 2.5,
    "model_dump": False,
    "model_fields": 3,
    "_private": "p",
    "context": "x",
    "Field": "f",
    "os": "o",
    "str": "s",
    "int": 5,
    "UPPER": "u",
    "__double__": "d",
    "HERE": "h",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "parameters"),
    [
        pytest.param("params", _EVERY_PARAMETER, id="params-every"),
        pytest.param("params", _TEXTS, id="params-empty_and_json_as_text"),
        pytest.param("awkward_params", _EVERY_AWKWARD_PARAMETER, id="awkward_params-every"),
        pytest.param("single_step", {"number": -1}, id="single_step-integer"),
        pytest.param("class_job", {"size": 1}, id="class_job-integer"),
        pytest.param("inherited", {"size": 1, "factor": 2.0}, id="inherited-every"),
    ],
    indirect=["runs"],
)
def test_parameters_in_the_run_configuration_arrive_with_their_types(
    runs: Runs, parameters: Mapping[str, Any]
) -> None:
    case, workspace = runs.case, runs.workspace
    native = workspace.snapshot(case, workspace.run_natively(case, parameters))
    run = workspace.run_in_process(case, parameters)
    assert run.succeeded, run.failures
    assert differences(native, workspace.snapshot(case, run.metaflow_run_id)) == []


@with_runs_of("linear")
def test_runs_of_different_flows_are_found_to_differ(
    runs: Runs, runs_of: Callable[[str], Runs]
) -> None:
    linear, branches = runs.native, runs_of("branches").native
    found = differences(linear, branches)
    assert found[0].startswith("steps: ")
    assert any(line.startswith("artifacts of start[]: ") for line in found)
    assert log_differences(linear, branches)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        pytest.param({"a": 1}, {"a": 2}, "a of fit[0]: 1 is not 2", id="value"),
        pytest.param({"a": 1}, {"a": True}, "a of fit[0]: 1 is not True", id="type"),
        pytest.param({"a": [1]}, {"a": [1.0]}, "a of fit[0]: [1] is not [1.0]", id="type_within"),
        pytest.param({"a": (1,)}, {"a": [1]}, "a of fit[0]: (1,) is not [1]", id="sequence"),
        pytest.param({"a": 1}, {}, "artifacts of fit[0]: {'a'} is not set()", id="missing"),
        pytest.param({}, {"a": 1}, "artifacts of fit[0]: set() is not {'a'}", id="additional"),
    ],
)
def test_artifacts_that_differ_are_found(
    one: Mapping[str, Any], other: Mapping[str, Any], difference: str
) -> None:
    assert differences(_run_of_one_task(one), _run_of_one_task(other)) == [difference]


def _run_of_one_task(artifacts: Mapping[str, Any], item: int = 0) -> RunSnapshot:
    return RunSnapshot({"fit": {(item,): TaskSnapshot(artifacts)}})


def test_tasks_of_different_items_are_found() -> None:
    found = differences(_run_of_one_task({}), _run_of_one_task({}, item=1))
    assert found == ["tasks of fit: {(0,)} is not {(1,)}"]


def test_equal_runs_do_not_differ() -> None:
    artifacts = {"a": [1, {"b": (2.5, None)}], "c": {"x", "y"}, "d": b"bytes"}
    assert differences(_run_of_one_task(artifacts), _run_of_one_task(dict(artifacts))) == []
