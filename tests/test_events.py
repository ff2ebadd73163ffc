"""What starts runs by itself, and what is told of their ends, with all of Dagster's processes."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from metaflow_dagster import publish
from tests.automated import SECRET, WEBHOOK, Automated, automated
from tests.operated import SECONDS, until
from tests.support import checked, path_with_this_python, typed

pytestmark = pytest.mark.slow

BURST = 200
BASKETS_END = "metaflow.shop.user.tester.BasketsFlow.end"


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Automated]:
    with automated(tmp_path_factory.mktemp("events")) as found:
        yield found


def test_payload_gives_typed_parameters(
    dagster: Automated, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.time()
    rest = {"id": "order 1", "n": 3, "price": 2, "express": True, "options": {"a": [1]}, "city": 7}
    dagster.publish("sales/orders", rest)
    texts = ["n=4", "price=0.5", "express=true", "options=[1, null]", "city=Rome"]
    by_command = published(dagster, "sales/orders", *(f"--payload={text}" for text in texts))
    monkeypatch.setenv("DAGSTER_HOME", str(dagster.place.home))
    by_python = publish("sales/orders", {"n": 5, "city": "Bari"})
    runs = dagster.ended("OrdersFlow", 3)
    after = dagster.looks_again("OrdersFlow_trigger", dagster.created(runs[-1])).timestamp

    assert [run.status.value for run in runs] == ["SUCCESS"] * 3
    assert dagster.count("OrdersFlow") == 3
    made = [dagster.artifacts("OrdersFlow", run, "given", "event") for run in runs]
    assert typed([given for given, _ in made]) == typed(
        [
            [3, 2.0, True, {"a": [1]}, "7"],
            [4, 0.5, True, [1, None], "Rome"],
            [5, 1.5, False, {}, "Bari"],
        ]
    )
    events = [event for _, event in made]
    times = [event.pop("timestamp") for event in events]
    assert events == [
        {"name": "sales/orders", "id": id, "type": "event"}
        for id in ("order 1", by_command, by_python)
    ]
    assert all(isinstance(each, datetime) for each in times)
    assert int(before) <= times[0].timestamp() <= times[-1].timestamp() <= after


def published(dagster: Automated, *arguments: str) -> str:
    """The id of an event that the command has published to the webserver."""
    command = [str(Path(sys.executable).with_name("metaflow-dagster")), "publish"]
    output = checked([*command, *arguments, "--url", dagster.server.url], dagster.place.directory)
    (id,) = re.findall(r" is published as (\S+) at http", output)
    return str(id)


def test_payload_that_does_not_fit(dagster: Automated) -> None:
    for payload in ({"number": "many"}, {"number": 1.5}, {"numbers": 1}, {"number": 2}):
        dagster.publish("odd", payload)
    assert until(lambda: numbers(dagster, "OddFlow")) == [2]
    said = dagster.said("OddFlow_trigger")
    for problem in (
        "has a field number that does not fit parameter number: .*unable to parse string",
        "has a field number that does not fit parameter number: .*fractional part",
        "has no field number, which parameter number needs",
    ):
        assert re.search(rf"Event odd, no\. \d+ of the event log, {problem}", said)


def numbers(dagster: Automated, flow: str) -> list[int]:
    """The parameter that each run of a flow was given, in the order in which they were started."""
    return [run.run_config["ops"]["op_start"]["config"]["number"] for run in dagster.runs(flow)]


def test_event_that_dagster_cannot_read(dagster: Automated) -> None:
    dagster.publish("spoiled", {"number": 1, "x": {"x": {"__class__": "Nope"}}})
    dagster.publish("spoiled", {"number": 2})
    dagster.looks_again("SpoiledFlow_trigger", time.time())
    assert numbers(dagster, "SpoiledFlow") == [2]
    assert re.search(
        r"Event spoiled, no\. \d+ of the event log, ", dagster.said("SpoiledFlow_trigger")
    )


def test_daemon_is_killed_in_a_burst(dagster: Automated) -> None:
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(publish_burst, dagster)
        dagster.await_runs("BurstFlow", 1, pause=0.05)
        dagster.kill_daemon()
        publishing.result()
    started = dagster.count("BurstFlow")
    dagster.start_daemon()
    dagster.await_runs("BurstFlow", started + 1, pause=0.05)
    until(lambda: len(being_started(dagster)) > 20, 0.05)
    dagster.kill_daemon()
    assert being_started(dagster)

    dagster.start_daemon()
    for part in range(BURST // 4, BURST + 1, BURST // 4):  # each has its own time to wait
        dagster.await_runs("BurstFlow", part)
    dagster.looks_again("BurstFlow_trigger", time.time())
    assert numbers(dagster, "BurstFlow") == list(range(BURST))
    assert ids(dagster.runs("BurstFlow")) == [[f"id {number}"] for number in range(BURST)]


def publish_burst(dagster: Automated) -> None:
    for number in range(BURST):
        dagster.publish("burst", {"id": f"id {number}", "number": number})


def being_started(dagster: Automated) -> Sequence[str]:
    """The runs that are still to start in a look of the sensor that has started others."""
    (tick,) = dagster.ticks("BurstFlow_trigger", limit=1)
    if tick.status.value != "STARTED":
        return []
    reserved = tick.tick_data.reserved_run_ids or []
    known = {run.run_id for run in dagster.runs("BurstFlow")}
    left = [run_id for run_id in reserved if run_id not in known]
    return left if len(left) < len(reserved) else []


def ids(runs: Sequence[Any]) -> list[list[str]]:
    """Of each run, the ids of the events that have started it."""
    return [[event["id"] for event in json.loads(run.tags["metaflow/triggers"])] for run in runs]


@pytest.fixture(scope="module")
def upstream(dagster: Automated) -> Mapping[str, Any]:
    """The runs for which the report waits, of which one is launched by the webserver.

    Before the other one, the same flow is run in another branch.
    """
    launch(dagster, "articles_dagster.py", "Renamed")
    execute(dagster, "other_dagster.py", "shop_test_other_BasketsFlow")
    (articles,) = dagster.ended("Renamed", 1)
    look = dagster.looks_again("ReportFlow_trigger_on_finish", time.time())
    assert look.skip_reason == f"Waiting for {BASKETS_END}."
    execute(dagster, "baskets_dagster.py", "shop_user_tester_BasketsFlow")
    (baskets,) = dagster.ended("shop_user_tester_BasketsFlow", 1)
    return {"ArticlesFlow": articles, "BasketsFlow": baskets}


@pytest.fixture(scope="module")
def report(dagster: Automated, upstream: Mapping[str, Any]) -> Any:
    """The run that they have started."""
    (run,) = dagster.ended("ReportFlow", 1)
    return run


_LAUNCH = """
mutation($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $selector}) { __typename }
}
"""


def launch(dagster: Automated, location: str, job: str) -> None:
    """Have the webserver launch a run."""
    selector = {
        "repositoryLocationName": location,
        "repositoryName": "__repository__",
        "jobName": job,
    }
    answer = dagster.server.ask(_LAUNCH, selector=selector)
    assert answer["launchRun"]["__typename"] == "LaunchRunSuccess"


def execute(dagster: Automated, file: str, job: str) -> None:
    """Run a job by a command, without daemon and queue."""
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", file, "-j", job]
    home = str(dagster.place.home)
    checked(command, dagster.place.directory, DAGSTER_HOME=home, PATH=path_with_this_python())


def test_run_starts_when_others_have_ended(
    dagster: Automated, upstream: Mapping[str, Any], report: Any
) -> None:
    paths = {flow: f"{flow}/{run.tags['metaflow/run_id']}" for flow, run in upstream.items()}
    assert report.is_success
    read, events = dagster.artifacts("ReportFlow", report, "upstream", "events", step="end")
    assert read == {paths["ArticlesFlow"]: "articles", paths["BasketsFlow"]: "baskets"}
    assert {(event["type"], event["name"], event["id"]) for event in events} == {
        ("run", "metaflow.ArticlesFlow.end", f"{paths['ArticlesFlow']}/start/start"),
        ("run", BASKETS_END, f"{paths['BasketsFlow']}/start/start"),
    }

    dagster.kill_daemon()
    restarted = time.time()
    dagster.start_daemon()
    dagster.looks_again("ReportFlow_trigger_on_finish", restarted)
    assert dagster.count("ReportFlow") == 1


_ASSETS = """
{
  assetNodes {
    assetKey { path }
    dependencyKeys { path }
    assetMaterializations(limit: 1) {
      runId
      metadataEntries {
        label
        ... on TextMetadataEntry { text }
        ... on TableMetadataEntry { table { records } }
      }
    }
  }
}
"""


def test_ends_are_assets(dagster: Automated, upstream: Mapping[str, Any], report: Any) -> None:
    nodes = dagster.server.ask(_ASSETS)["assetNodes"]
    above: dict[str, set[str]] = {}
    for node in nodes:
        its = above.setdefault("/".join(node["assetKey"]["path"]), set())
        its |= {"/".join(key["path"]) for key in node["dependencyKeys"]}
    assert above["metaflow.ReportFlow.end"] == {"metaflow.ArticlesFlow.end", BASKETS_END}
    assert above["metaflow.OrdersFlow.end"] == {"sales/orders"}
    assert above["metaflow.ClockFlow.end"] == {"repairs"}
    assert above["metaflow.ArticlesFlow.end"] == set()

    name = {"path": ["metaflow.ReportFlow.end"]}
    (node,) = [each for each in nodes if each["assetKey"] == name]
    (end,) = node["assetMaterializations"]
    metadata = {entry["label"]: entry for entry in end["metadataEntries"]}
    path = f"ReportFlow/{report.tags['metaflow/run_id']}"
    assert end["runId"] == report.run_id
    assert metadata["pathspec"]["text"] == path
    assert metadata["id"]["text"] == f"{path}/end/end"
    records = map(json.loads, metadata["artifacts"]["table"]["records"])
    assert {record["name"] for record in records} == {"events", "upstream"}


def test_schedule_and_notices(dagster: Automated) -> None:
    dagster.await_runs("ClockFlow", 1)  # there is a whole minute until the first
    (first, *_) = scheduled = dagster.ended("ClockFlow", 1)
    ticks = [each for each in dagster.ticks("ClockFlow_schedule") if each.is_completed]
    assert [len(tick.run_ids) for tick in ticks] == [1] * len(ticks)
    assert {tick.timestamp % 60 for tick in ticks} == {0}
    assert ticks[-1].run_ids == [first.run_id]
    assert ticks[-1].timestamp < dagster.started + SECONDS
    assert [run.status.value for run in scheduled] == ["SUCCESS"] * len(scheduled)
    assert dagster.artifacts("ClockFlow", first, "trigger") == [None]

    dagster.publish("repairs", {"broken": "yes"})
    (failed,) = until(lambda: [run for run in dagster.runs("ClockFlow") if run.is_failure])
    until(lambda: failed.run_id in [each["dagster_run_id"] for each in dagster.webhook.taken])
    for ending in ("error", "success"):
        dagster.looks_again(f"ClockFlow_notify_on_{ending}", time.time())
    assert notices(dagster.webhook.attempts, failed) == [failure(failed)] * 3
    assert notices(dagster.webhook.taken, failed) == [failure(failed)]
    assert notices(dagster.webhook.taken, first) == [success(first)]


def notices(sent: Sequence[Mapping[str, str]], run: Any) -> list[Mapping[str, str]]:
    """Those of a run."""
    return [each for each in sent if each["dagster_run_id"] == run.run_id]


def failure(run: Any) -> Mapping[str, str]:
    text = f"Run {run.tags['metaflow/run_id']} of ClockFlow failed in op_start."
    return {"text": text, "status": "FAILURE", **facts(run)}


def success(run: Any) -> Mapping[str, str]:
    text = f"Run {run.tags['metaflow/run_id']} of ClockFlow succeeded."
    return {"text": text, "status": "SUCCESS", **facts(run)}


def facts(run: Any) -> Mapping[str, str]:
    return {
        "flow_name": "ClockFlow",
        "run_id": run.tags["metaflow/run_id"],
        "job_name": "ClockFlow",
        "dagster_run_id": run.run_id,
    }


def test_notices_that_nobody_takes(dagster: Automated, report: Any) -> None:
    until(
        lambda: f"NotNotified: Set {WEBHOOK} where" in dagster.said("ReportFlow_notify_on_success")
    )
    untaken = "NotNotified: The webhook does not take the notice: [Errno"
    until(lambda: untaken in dagster.said("Renamed_notify_on_success"))
    assert holding(dagster.place.directory, untaken)
    assert holding(dagster.place.directory, SECRET) == []


def holding(directory: Path, text: str) -> list[Path]:
    """The files that hold a text: databases, logs and all else that Dagster and Metaflow write."""
    return [
        file
        for file in directory.rglob("*")
        if file.is_file() and text.encode() in file.read_bytes()
    ]
