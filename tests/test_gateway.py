"""Answers that a gateway before the webserver loses: nothing is said that is not known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaflow_dagster.operate import answers
from metaflow_dagster.operate.automations import Change
from metaflow_dagster.operate.errors import (
    EventNotKnown,
    LaunchNotKnown,
    NotSwitched,
    RunNotStarted,
    RunNotTerminated,
)
from metaflow_dagster.operate.publish import publish_event
from metaflow_dagster.operate.runs import LAUNCH_TAG, JobChoice, Launch
from metaflow_dagster.operate.server import ServerTarget
from metaflow_dagster.operate.terminate import terminate_run
from tests.operated import Place, new_place, running_server, until
from tests.services.gateway import Gateway, Loss, gateway_before

pytestmark = pytest.mark.slow

SCHEDULED = """
import time
from metaflow import FlowSpec, Parameter, schedule, step

@schedule(cron="0 0 1 1 *")
class OperatedFlow(FlowSpec):
    city = Parameter("city", default="Ulm")
    count = Parameter("count", default=1.5)

    @step
    def start(self):
        if self.city == "Slow":
            time.sleep(300)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    OperatedFlow()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    result = new_place(tmp_path_factory.mktemp("gateway"))
    (result.directory / "operated_flow.py").write_text(SCHEDULED)
    assert result.dagster("create").returncode == 0
    return result


@pytest.fixture(scope="module")
def gateway(place: Place) -> Iterator[Gateway]:
    with (
        running_server(place, "operatedflow_dagster.py") as server,
        gateway_before(server.url) as found,
    ):
        yield found


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS_TO_LOOK", 5.0)


def launch(**parameters: object) -> Launch:
    return Launch("OperatedFlow", JobChoice(None, Path("not needed")), parameters)


def recorded(place: Place) -> list[Any]:
    """All runs that Dagster has."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(place.home)) as instance:
        return list(instance.get_runs())


@pytest.mark.parametrize("loss", ["broken", "502"])
def test_launch_whose_answer_is_lost_is_found(loss: Loss, gateway: Gateway, place: Place) -> None:
    before = len(recorded(place))
    with gateway.losing("aunchPipelineExecution", loss):
        result = place.dagster("trigger", "--url", gateway.url, "--run-id-file=id")
    assert result.returncode == 0, result.stderr
    assert f"Metaflow run {(place.directory / 'id').read_text()}, " in result.stdout
    latest, *_ = runs = recorded(place)
    assert len(runs) == before + 1
    assert f"Dagster run {latest.run_id}." in result.stdout
    assert LAUNCH_TAG in latest.tags


def test_launch_that_is_not_started_or_not_known(gateway: Gateway, place: Place) -> None:
    before = len(recorded(place))
    with gateway.losing("aunchPipelineExecution", "unsent"), pytest.raises(RunNotStarted) as caught:
        ServerTarget(gateway.url).launch(launch())
    assert "is lost (HTTP 502), and some seconds later it has no such run" in str(caught.value)
    assert len(recorded(place)) == before

    with gateway.losing("aunchPipelineExecution", "down"), pytest.raises(LaunchNotKnown) as unknown:
        ServerTarget(gateway.url).launch(launch())
    latest, *_ = runs = recorded(place)
    assert len(runs) == before + 1
    (key,) = re.findall(rf"{LAUNCH_TAG}=([\w-]+)\.$", str(unknown.value))
    assert latest.tags[LAUNCH_TAG] == key


def test_number_that_json_does_not_know_is_not_sent(gateway: Gateway, place: Place) -> None:
    before = len(recorded(place))
    result = place.dagster("trigger", "--url", gateway.url, "--count=nan")
    assert result.returncode == 1
    assert "The parameter count is or has a number that JSON does not know" in result.stderr
    assert len(recorded(place)) == before


@pytest.mark.parametrize("loss", ["broken", "502"])
def test_schedules_are_looked_at_when_the_answer_is_lost(loss: Loss, gateway: Gateway) -> None:
    target = ServerTarget(gateway.url)
    for change, mutation in (
        (Change.SUSPEND, "stopRunningSchedule"),
        (Change.UNSUSPEND, "startSchedule"),
    ):
        with gateway.losing(mutation, loss):
            (automation,) = target.switch(launch(), change)
        (found,) = target._automations_of(target._job(launch()))
        assert (found.name, found.status) == (automation.name, change.status)
    with gateway.losing("stopRunningSchedule", "unsent"), pytest.raises(NotSwitched) as caught:
        target.switch(launch(), Change.SUSPEND)
    assert "its answer is lost (HTTP 502), and nothing has changed." in str(caught.value)


def test_end_of_a_run_is_looked_at_when_the_answer_is_lost(gateway: Gateway) -> None:
    target = ServerTarget(gateway.url)
    launched = target.launch(launch(city="Slow"))
    # A run that is being started takes no request to end.
    until(lambda: target.run(launched.dagster_run_id).status == "STARTED")
    run = target.run(launched.dagster_run_id)
    with gateway.losing("terminateRun", "unsent"), pytest.raises(RunNotTerminated) as caught:
        target.terminate(run)
    assert "its answer is lost (HTTP 502), and the run goes on." in str(caught.value)
    with gateway.losing("terminateRun", "broken"):
        assert terminate_run(target, run)
    assert target.run(run.id).status == "CANCELED"


@pytest.mark.parametrize("loss", ["broken", "502"])
def test_event_whose_answer_is_lost(loss: Loss, gateway: Gateway) -> None:
    with (
        gateway.losing("report_asset_materialization", loss),
        pytest.raises(EventNotKnown) as caught,
    ):
        publish_event("orders", {"id": "order 7"}, gateway.url)
    assert "Look for the id 'order 7' among the materializations of orders" in str(caught.value)
