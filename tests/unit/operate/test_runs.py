"""What is read out of Dagster's record of a run, and how a run is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import DagsterRunStatus

from metaflow_dagster.operate.errors import RunNotFound
from metaflow_dagster.operate.find import find_run, known_run
from metaflow_dagster.operate.runs import (
    FLOW_TAG,
    RUN_ID_TAG,
    DagsterRun,
    JobChoice,
    Launch,
    Phase,
    metaflow_run_id,
)
from tests.unit.operate.targets import Runs, run


@pytest.mark.parametrize("status", DagsterRunStatus)
def test_every_status_of_dagster_is_a_phase(status: DagsterRunStatus) -> None:
    found = DagsterRun("x", "job", status.value, {}, {})
    ended = status in (
        DagsterRunStatus.SUCCESS,
        DagsterRunStatus.FAILURE,
        DagsterRunStatus.CANCELED,
    )
    assert found.phase.is_finished == ended
    assert (found.phase is Phase.SUCCEEDED) == (status is DagsterRunStatus.SUCCESS)


def test_parameters_are_the_configuration_of_the_first_op() -> None:
    config = {"ops": {"op_start": {"config": {"a": 1}}}, "execution": {"config": {"x": 2}}}
    assert run(config=config).parameters == {"a": 1}
    assert run(config=config).settings == {"execution": {"config": {"x": 2}}}
    assert run().parameters == {}


JOB = JobChoice("job", Path("job_dagster.py"))


def test_run_config() -> None:
    launch = Launch("F", JOB, {"a": 1}, settings={"loggers": {}})
    assert launch.run_config("op_begin") == {
        "loggers": {},
        "ops": {"op_begin": {"config": {"a": 1}}},
    }
    assert Launch("F", JOB, {}).run_config("op_begin") == {}


def test_run_is_found_by_its_tag() -> None:
    retried = run("again", {RUN_ID_TAG: "dagster-1"})
    assert find_run(Runs(retried, run("first", {RUN_ID_TAG: "dagster-1"})), "F", "dagster-1") == (
        retried
    )


def test_run_is_found_before_it_has_its_tag() -> None:
    queued = run("queued")
    assert find_run(Runs(run("other"), queued), "F", metaflow_run_id("queued")) == queued
    assert find_run(Runs(queued), "F", "dagster-unknown") is None


def test_run_may_be_named_by_its_pathspec() -> None:
    one = run("x", {RUN_ID_TAG: "dagster-1"})
    assert known_run(Runs(one), "F", "F/dagster-1") == one


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("1234", "ids of those are like dagster-"),
        ("dagster-\ud800", "is not a run of Dagster"),
        ("dagster-1\0", "is not a run of Dagster"),
        ("dagster-2", "has no run dagster-2 of F"),
        ("G/dagster-1", "has no run dagster-1 of F"),
        ("dagster-3", "has no run dagster-3 of F"),
    ],
)
def test_unknown_run(given: str, message: str) -> None:
    runs = Runs(
        run("x", {RUN_ID_TAG: "dagster-1"}), run("y", {RUN_ID_TAG: "dagster-3", FLOW_TAG: "G"})
    )
    with pytest.raises(RunNotFound) as caught:
        known_run(runs, "F", given)
    assert message in str(caught.value)
