"""A flow that Dagster itself materializes: by hand, in a backfill, by a condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, RunsFilter

from tests.operated import Place, Server, make_databases, place_of, served, until
from tests.support import use_client

pytestmark = pytest.mark.slow

FLOW = """
from pathlib import Path
from metaflow import FlowSpec, Parameter, current, step

class StockFlow(FlowSpec):
    '''Stock of a day.'''
    day = Parameter("day", default="today")
    size = Parameter("my-size", default=2)

    @step
    def start(self):
        self.items = list(range(self.size))
        self.next(self.count, foreach="items")

    @step
    def count(self):
        if Path(f"fails {self.day}").exists():
            raise ValueError("no luck")
        self.number = self.input
        self.next(self.total)

    @step
    def total(self, inputs):
        self.sum = sum(one.number for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        self.label = f"{self.day}: {self.sum}"

if __name__ == "__main__":
    StockFlow()
"""
PARTITIONED = """
from dagster import AssetSpec, Definitions
import stock
defs = Definitions.merge(stock.defs, Definitions(assets=[AssetSpec(["warehouse", "orders"])]))
"""
END, SUM = AssetKey(["metaflow.StockFlow.end"]), AssetKey(["stock", "sum"])
ASSETS = [{"path": list(key.path)} for key in (END, SUM)]
MATERIALIZE = """
mutation ($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
REEXECUTE = """
mutation ($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: FROM_FAILURE}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
BACKFILL = """
mutation ($assets: [AssetKeyInput!], $days: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $days}) {
    __typename ... on PythonError { message }
  }
}
"""
AUTOMATE = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""
LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "all.py"}
OPTIONS = ("--assets", "--asset=total.sum=stock/sum", "--upstream=warehouse/orders")


def compiled(directory: Path, *options: str) -> Place:
    place = place_of(directory, "stock_flow.py", FLOW)
    (directory / "all.py").write_text(PARTITIONED)
    created = place.dagster("create", "stock.py", *OPTIONS, *options)
    assert created.returncode == 0, created.stderr
    make_databases(place)
    return place


def materialize(server: Server, day: str, size: int) -> str:
    """What *Materialize* on the page of the asset launches."""
    parameters = {
        "selector": {**LOCATION, "pipelineName": "__ASSET_JOB", "assetSelection": ASSETS},
        "runConfigData": {"ops": {"StockFlow_steps": {"config": {"my-size": size}}}},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": day}]},
    }
    answer = server.ask(MATERIALIZE, parameters=parameters)["launchPipelineExecution"]
    return str(answer["run"]["runId"])


def ended(place: Place, dagster_run_id: str) -> Any:
    """A run of Dagster's, once it has ended."""
    with DagsterInstance.from_config(str(place.home)) as instance:
        run = instance.get_run_by_id(dagster_run_id)
    return run if run is not None and run.is_finished else None


def materialized(place: Place, key: AssetKey) -> set[str]:
    with DagsterInstance.from_config(str(place.home)) as instance:
        return set(instance.get_materialized_partitions(key))


def labels(place: Place, day: str) -> list[str]:
    """What the successful Metaflow runs of a partition say."""
    from metaflow import Flow

    use_client(place.directory)
    return [run.data.label for run in Flow("StockFlow").runs(f"partition:{day}") if run.successful]


@pytest.mark.timeout(400)
def test_partitions_are_materialized(tmp_path: Path) -> None:
    place = compiled(tmp_path, "--partition=day=daily:2026-01-01")
    failing = place.directory / "fails 2026-01-02"
    failing.touch()
    with served(place, "dagster dev -f all.py") as server:
        days = ["2026-01-05", "2026-01-06"]
        launched = server.ask(BACKFILL, assets=ASSETS, days=days)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        first = materialize(server, "2026-01-02", 3)
        failed = until(lambda: ended(place, first))
        assert failed.status.value == "FAILURE"
        failing.unlink()
        answer = server.ask(REEXECUTE, parent=failed.run_id)["launchRunReexecution"]
        again = until(lambda: ended(place, answer["run"]["runId"]))
        assert again.status.value == "SUCCESS"
        tag = "metaflow/run_id"
        assert again.tags[tag] == failed.tags[tag]
        assert labels(place, "2026-01-02") == ["2026-01-02: 3"]
        result = place.dagster(
            "trigger", f"--url={server.url}", "--partition=2026-01-03", "--my-size=4", "--wait"
        )
        assert result.returncode == 0, result.stderr
        assert labels(place, "2026-01-03") == ["2026-01-03: 6"]
        until(lambda: materialized(place, END) >= {*days})
    assert (
        materialized(place, END) == materialized(place, SUM) == {*days, "2026-01-02", "2026-01-03"}
    )
    assert labels(place, days[0]) == ["2026-01-05: 1"]


@pytest.mark.timeout(400)
def test_a_condition_materializes(tmp_path: Path) -> None:
    """Whatever has become of the asset before it; runs of that are known to the commands."""
    place = compiled(tmp_path, "--automation=eager")
    with served(place, "dagster dev -f all.py") as server:
        name = "default_automation_condition_sensor"
        started = server.ask(AUTOMATE, selector={**LOCATION, "sensorName": name})["startSensor"]
        assert started["__typename"] == "Sensor", started
        until(lambda: ticks(place))
        with DagsterInstance.from_config(str(place.home)) as instance:
            orders = AssetMaterialization(AssetKey(["warehouse", "orders"]))
            instance.report_runless_asset_event(orders)
        run = until(lambda: next(iter(runs_of_the_flow(place)), None))
        assert run.tags["dagster/from_automation_condition"] == "true"
        until(lambda: ended(place, run.run_id))
    assert ended(place, run.run_id).status.value == "SUCCESS"
    assert run.tags["metaflow/run_id"] in place.dagster("list-runs").stdout


def ticks(place: Place) -> bool:
    """Whether the sensor of the conditions has looked already, from when on changes count."""
    with DagsterInstance.from_config(str(place.home)) as instance:
        states = instance.all_instigator_state()
        return any(
            instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            for state in states
            if state.instigator_name == "default_automation_condition_sensor"
        )


def runs_of_the_flow(place: Place) -> Any:
    with DagsterInstance.from_config(str(place.home)) as instance:
        return instance.get_runs(RunsFilter(tags={"metaflow/flow": "StockFlow"}))


def test_runs_are_launched_and_resumed_as_ever(tmp_path: Path) -> None:
    """By the commands; parameters, tags and the run in Metaflow are those of the other form."""
    place = compiled(tmp_path)
    failing = place.directory / "fails monday"
    failing.touch()
    file = "--definitions-file=stock.py"
    result = place.dagster("trigger", file, "--day=monday", "--my-size=3", "--wait")
    assert result.returncode == 1
    assert "count: 0 of 3 done, 3 failed" in result.stdout
    failing.unlink()
    (failed,) = [run.tags["metaflow/run_id"] for run in runs_of_the_flow(place)]
    resumed = place.started("resume", file, "--run-id", failed, "--wait")
    from metaflow import Run

    use_client(place.directory)
    run = Run(f"StockFlow/{resumed}")
    assert (run.data.label, run.successful) == ("monday: 3", True)
    assert run["start"].task.metadata_dict["origin-run-id"] == failed
    record = place.recorded(resumed)
    assert record.job_name == "StockFlow"
    assert record.tags["metaflow/origin_run_id"] == failed
