"""Metaflow's Deployer API on Dagster, on this machine and on a Dagster behind a webserver."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operated import (
    SECONDS,
    Place,
    Server,
    is_alive,
    new_place,
    running_server,
    step_process,
)

pytestmark = pytest.mark.slow

# Every test is a process of its own: it finds what another has deployed.
DEPLOY = """
deployed = Deployer("operated_flow.py", show_output=False).dagster(name="Prices").create(
    definitions_file="prices.py",
    tags=["team:search"],
    decospecs=["retry:times=0"],
    max_workers=2,
    executor="threads",
)
show(
    identifier=deployed.identifier,
    name=deployed.name,
    flow_name=deployed.flow_name,
    token=deployed.production_token,
)
"""


def python(place: Place, code: str, **environment: str) -> Any:
    """What a script passes to `show`."""
    start = (
        "import json\nfrom metaflow import DeployedFlow, Deployer\n"
        "def show(**values): print('shown:' + json.dumps(values))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=place.directory,
        env={**place.environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (shown,) = (line for line in result.stdout.splitlines() if line.startswith("shown:"))
    return json.loads(shown.removeprefix("shown:"))


# What users add to the compiled job.
TIMED = """
import prices
from dagster import Definitions, RunRequest, ScheduleDefinition, sensor

nightly = ScheduleDefinition("nightly", cron_schedule="0 0 * * *", job=prices.Prices)

@sensor(job=prices.Prices)
def new_prices(context):
    return []

defs = Definitions.merge(prices.defs, Definitions(schedules=[nightly], sensors=[new_prices]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    result = new_place(tmp_path_factory.mktemp("deployer"))
    (result.directory / "timed.py").write_text(TIMED)
    yield result
    result.end_all_runs()


@pytest.fixture(scope="module")
def deployed(place: Place) -> Any:
    return python(place, DEPLOY)


@pytest.fixture(scope="module")
def server(place: Place, deployed: Any) -> Iterator[Server]:
    with running_server(place, "timed.py") as found:
        yield found


def test_deployment(place: Place, deployed: Any) -> None:
    blob = json.loads((place.directory / ".metaflow" / "mf.dagster" / "Prices").read_text())
    assert deployed == {
        "identifier": f"{place.directory}/prices.py:Prices",
        "name": "Prices",
        "flow_name": "OperatedFlow",
        "token": blob["production_token"],
    }
    text = (place.directory / "prices.py").read_text()
    assert "--tag team:search" in text
    assert "--with retry:times=0" in text
    assert "--max-workers 2" in text
    assert "--executor threads" in text


def test_trigger_of_what_another_process_has_deployed(
    place: Place, deployed: Any, tmp_path: Path
) -> None:
    awaited = tmp_path / "go"
    code = f"""
deployed = DeployedFlow.from_dagster({deployed["identifier"]!r})
given = dict(city="Ulm = a: 'b'", my_count=1, price=2, open=False, options={{"a": [1, "ü"]}})
run = deployed.trigger(**given, notes="notes.txt", wait="{awaited}")
first = dict(is_running=run.is_running, run_id=run.pathspec.split("/")[1], url=run.dagster_url)
open("{awaited}", "w").close()
run.wait_for_completion(check_interval=0.5, timeout={SECONDS})
data = run.run["end"].task
names = ["city", "count", "price", "is_open", "options", "notes", "waiting"]
show(**first, status=run.status, ended=not run.is_running, dagster=run.dagster_run_id,
     values=[data[name].data for name in names])
"""
    shown = python(place, code)
    recorded = place.recorded(shown["run_id"])
    assert (shown["is_running"], shown["ended"], shown["status"]) == (True, True, "Succeeded")
    assert (shown["url"], shown["dagster"]) == (None, recorded.run_id)
    assert shown["values"] == [
        "Ulm = a: 'b'",
        1,
        2.0,
        False,
        {"a": [1, "ü"]},
        "some notes",
        str(awaited),
    ]
    config = recorded.run_config["ops"]["op_start"]["config"]
    assert type(config["price"]) is float
    assert type(config["my-count"]) is int


def test_terminate_and_find_again(place: Place, deployed: Any) -> None:
    code = """
(deployed,) = DeployedFlow.list_dagster("OperatedFlow")
assert not list(DeployedFlow.list_dagster("OtherFlow"))
run = deployed.run(city="Slow", my_count=1)
show(run=run.pathspec.split("/")[1])
"""
    run_id = python(place, code)["run"]
    pid = step_process(place, run_id)
    code = f"""
run = DeployedFlow.get_triggered_dagster_run("Prices", {run_id!r})
before = run.status
try:
    run.wait_for_completion(check_interval=0.1, timeout=0.2)
    waited = True
except TimeoutError:
    waited = False
show(before=before, waited=waited, terminated=run.terminate(), again=run.terminate(),
     status=run.status, found=run.run.id)
"""
    assert python(place, code) == {
        "before": "Running",
        "waited": False,
        "terminated": True,
        "again": False,
        "status": "Failed",
        "found": run_id,
    }
    assert not is_alive(pid)


def test_resume(place: Place, deployed: Any) -> None:
    (place.directory / "broken").touch()
    code = """
deployed = DeployedFlow.from_dagster("Prices")
run = deployed.trigger(city="Broken", my_count=1, tags=["first"])
run.wait_for_completion(check_interval=0.5)
import os; os.unlink("broken")
resumed = deployed.resume(
    origin_run_id=run.run.id, step_to_rerun="start", tags=["why:again", "late"]
)
resumed.wait_for_completion(check_interval=0.5)
show(
    status=run.status,
    origin=run.run.id,
    resumed=resumed.pathspec.split("/")[1],
    tags=sorted(resumed.run.user_tags),
)
"""
    shown = python(place, code)
    assert shown["status"] == "Failed"
    recorded = place.recorded(shown["resumed"])
    assert recorded.tags["metaflow/origin_run_id"] == shown["origin"]
    assert recorded.tags["metaflow/resume_step"] == "start"
    assert (recorded.tags["why"], recorded.tags["team"]) == ("again", "search")
    assert shown["tags"] == ["late", "team:search", "why:again"]
    assert place.ended(shown["resumed"]) == "SUCCESS"


def test_what_is_refused(place: Place, deployed: Any) -> None:
    code = """
deployed = DeployedFlow.from_dagster("Prices")
def refusal(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except Exception as error:
        return [type(error).__name__, str(error)]
show(
    wrong_type=refusal(deployed.trigger, city=5),
    missing=refusal(deployed.trigger),
    unknown=refusal(deployed.trigger, city="Ulm", nope=1),
    origin=refusal(deployed.resume, "dagster-000000000000"),
    two=refusal(deployed.resume, "dagster-1", run_id="dagster-2"),
    none=refusal(deployed.resume, step="start"),
    tag=refusal(deployed.trigger, city="Ulm", tags=[" "]),
    deployment=refusal(DeployedFlow.from_dagster, "nope"),
    token=refusal(Deployer("operated_flow.py", show_output=False).dagster(name="no-name").create,
                  authorize="secret"),
)
"""
    shown = python(place, code)
    assert shown["wrong_type"][0] == "TypeError"
    assert shown["two"] == [
        "TypeError",
        "resume() got two values for origin_run_id: dagster-1 and dagster-2",
    ]
    assert shown["none"][0] == "TypeError"
    assert "--tag ' ' is malformed" in shown["tag"][1]
    assert shown["missing"] == ["ValueError", "Missing argument: city is required."]
    assert shown["unknown"][0] == "ValueError"
    assert shown["origin"][0] == "RunNotStarted"
    assert "Metaflow knows no run dagster-000000000000" in shown["origin"][1]
    assert shown["deployment"][0] == "DeploymentNotFound"
    assert deployed["identifier"] in shown["deployment"][1]
    assert "--name 'no-name' is not a name" in shown["token"][1]
    assert "secret" not in shown["token"][1]


def test_server_without_the_flow_file(
    place: Place, server: Server, tmp_path: Path, deployed: Any
) -> None:
    elsewhere = Place(tmp_path, place.home)
    (tmp_path / "notes.txt").write_text("elsewhere")
    (tmp_path / ".metaflow").symlink_to(place.directory / ".metaflow")
    code = """
(deployed,) = DeployedFlow.list_dagster()
run = deployed.trigger(city="Slow", my_count=1, price=2, open=False, options={"a": [1]})
show(identifier=deployed.identifier, url=run.dagster_url, dagster=run.dagster_run_id,
     run=run.pathspec.split("/")[1])
"""
    shown = python(elsewhere, code, METAFLOW_DAGSTER_URL=server.url)
    assert shown["identifier"] == "timed.py:Prices"
    assert shown["url"] == f"{server.url}/runs/{shown['dagster']}"
    pid = step_process(place, shown["run"])
    code = f"""
run = DeployedFlow.get_triggered_dagster_run("timed.py:Prices", {shown["run"]!r})
show(before=run.status, terminated=run.terminate(), status=run.status, url=run.dagster_url)
"""
    assert python(elsewhere, code, METAFLOW_DAGSTER_URL=server.url) == {
        "before": "Running",
        "terminated": True,
        "status": "Failed",
        "url": shown["url"],
    }
    assert not is_alive(pid)
    config = place.recorded(shown["run"]).run_config["ops"]["op_start"]["config"]
    given: dict[str, Any] = {"city": "Slow", "my-count": 1, "price": 2.0, "open": False}
    assert config == {**given, "options": {"a": [1]}}
    # Its steps and parameters are those that the server knows, also when a resumed run is resumed.
    origin = shown["run"]
    for _ in range(2):
        code = f"""
(deployed,) = DeployedFlow.list_dagster()
try:
    deployed.resume(origin_run_id={origin!r}, step_to_rerun="missing")
except Exception as error:
    run = deployed.resume(origin_run_id={origin!r}, step_to_rerun="work")
    show(run=run.pathspec.split("/")[1], error=str(error))
"""
        shown = python(elsewhere, code, METAFLOW_DAGSTER_URL=server.url)
        assert "has no step missing. Its steps: " in shown["error"]
        step_process(place, shown["run"])
        code = f"""
run = DeployedFlow.get_triggered_dagster_run("timed.py:Prices", {shown["run"]!r})
show(terminated=run.terminate())
"""
        assert python(elsewhere, code, METAFLOW_DAGSTER_URL=server.url) == {"terminated": True}
        resumed, origin = place.recorded(shown["run"]), shown["run"]
        assert resumed.tags["metaflow/resume_step"] == "work"
        assert resumed.run_config["ops"]["op_start"]["config"]["city"] == "Slow"


def test_server_that_is_named_to_the_deployer(place: Place, server: Server, deployed: Any) -> None:
    code = f"""
deployer = Deployer("operated_flow.py", show_output=False)
deployed = deployer.dagster(name="Prices", url={server.url!r}).create(definitions_file="prices.py")
run = deployed.trigger(city="Ulm", my_count=1, notes="notes.txt")
run.wait_for_completion(check_interval=0.5, timeout={SECONDS})
show(status=run.status, url=run.dagster_url, notes=run.run["end"].task["notes"].data)
"""
    shown = python(place, code)
    assert (shown["status"], shown["notes"]) == ("Succeeded", "some notes")
    assert shown["url"].startswith(f"{server.url}/runs/")


def test_list_and_delete(place: Place, tmp_path: Path) -> None:
    assert place.dagster("create", "gone.py", "--name=Gone").returncode == 0
    file, blob = place.directory / "gone.py", place.directory / ".metaflow/mf.dagster/Gone"
    line = f"OperatedFlow {file}:Gone\n"
    assert line in place.dagster("list").stdout
    code = """
gone = DeployedFlow.from_dagster("Gone")
show(deleted=gone.delete(), token=gone.production_token)
"""
    other = {"METAFLOW_USER": "other", "METAFLOW_HOME": str(tmp_path)}
    shown = python(place, code, **other)
    assert shown["deleted"] is False
    assert shown["token"]
    assert file.exists()
    code = """
gone = DeployedFlow.from_dagster("Gone")
show(deleted=gone.delete(authorize=gone.production_token), token=gone.production_token)
"""
    assert python(place, code, **other) == {"deleted": True, "token": None}
    assert not file.exists()
    assert not blob.exists()
    assert line not in place.dagster("list", "--all").stdout


def test_list_on_a_server(place: Place, server: Server) -> None:
    listed = place.dagster("list", "--url", server.url)
    assert listed.stdout == "OperatedFlow timed.py:Prices\n"


def automations(place: Place) -> dict[str, str]:
    """What Dagster has recorded of schedules and sensors."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(place.home)) as instance:
        return {
            state.instigator_name: state.status.value for state in instance.all_instigator_state()
        }


def test_suspend(place: Place, deployed: Any) -> None:
    on = place.dagster("unsuspend", "--definitions-file=timed.py")
    assert on.returncode == 0, on.stderr
    assert "The schedule nightly is unsuspended.\nThe sensor new_prices is unsus" in on.stdout
    assert automations(place) == {"nightly": "RUNNING", "new_prices": "RUNNING"}
    assert place.dagster("suspend", "--definitions-file=timed.py").returncode == 0
    assert automations(place) == {"nightly": "STOPPED", "new_prices": "STOPPED"}


def test_suspend_on_a_server(place: Place, server: Server) -> None:
    arguments = ["--name=Prices", "--url", server.url]
    on = place.dagster("unsuspend", *arguments)
    assert on.returncode == 0, on.stderr
    assert automations(place) == {"nightly": "RUNNING", "new_prices": "RUNNING"}
    off = place.dagster("suspend", *arguments)
    assert off.stdout == "The schedule nightly is suspended.\nThe sensor new_prices is suspended.\n"
    assert automations(place) == {"nightly": "STOPPED", "new_prices": "STOPPED"}
