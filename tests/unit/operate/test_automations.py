"""Finding the schedules and sensors of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaflow_dagster.operate.automations import Automation, Change, Kind
from metaflow_dagster.operate.definitions import load_automations
from metaflow_dagster.operate.errors import NotSwitched
from metaflow_dagster.operate.runs import JobChoice, Launch
from metaflow_dagster.operate.served import ServedJob, served_automations
from metaflow_dagster.operate.server import ServerTarget

SOURCE = """
from dagster import Definitions, ScheduleDefinition, job, op, run_failure_sensor, sensor

@op
def work():
    pass

@job
def ours():
    work()

@job
def others():
    work()

schedules = [ScheduleDefinition(name, cron_schedule="0 0 * * *", job=job)
             for name, job in (("nightly", ours), ("other", others))]

@sensor(jobs=[ours, others])
def both(context):
    pass

@run_failure_sensor
def failures(context):
    pass

defs = Definitions(jobs=[ours, others], schedules=schedules, sensors=[both, failures])
"""


def test_automations_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "definitions.py"
    file.write_text(SOURCE)
    found = load_automations(file, "ours")
    assert found == [Automation(Kind.SCHEDULE, "nightly"), Automation(Kind.SENSOR, "both")]
    assert [str(each) for each in found] == ["schedule nightly", "sensor both"]
    assert load_automations(file, "none") == []


def state(id: str) -> dict[str, str]:
    return {"id": id, "status": "RUNNING"}


REPOSITORY = {
    "schedules": [{"name": "nightly", "pipelineName": "ours", "scheduleState": state("a:b")}],
    "sensors": [
        {"name": "ours", "targets": [{"pipelineName": "ours"}], "sensorState": state("c:d")},
        {"name": "of runs", "targets": None, "sensorState": state("e:f")},
    ],
}


def test_automations_of_a_server() -> None:
    assert list(served_automations(REPOSITORY, "ours")) == [
        Automation(Kind.SCHEDULE, "nightly", "a:b", "RUNNING"),
        Automation(Kind.SENSOR, "ours", "c:d", "RUNNING"),
    ]
    assert list(served_automations({"__typename": "RepositoryNotFoundError"}, "ours")) == []


def test_server_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ServerTarget.__new__(ServerTarget)
    target._url = "http://127.0.0.1:1"
    job = ServedJob("ours", "here.py", "__repository__", "OurFlow", "op_start")

    def answer(query: str, variables: Any) -> Any:
        if "MetaflowAutomations" in query:
            return {"repositoryOrError": REPOSITORY}
        assert variables == {"id": "a:b"}
        return {"changed": {"__typename": "UnauthorizedError", "message": "No permission."}}

    monkeypatch.setattr(target, "_ask", answer)
    monkeypatch.setattr(target, "_job", lambda launch: job)
    launch = Launch("OurFlow", JobChoice("ours", Path("not needed")), {})
    with pytest.raises(NotSwitched, match="does not stop the schedule nightly: No permission"):
        target.switch(launch, Change.SUSPEND)
