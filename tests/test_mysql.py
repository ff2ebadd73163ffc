"""Dagster with MySQL, which keeps no more than 64 KB of a run, and of a look of a sensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.automated import SOURCE
from tests.operated import Place, Server, running_server, until
from tests.services.mariadb import mariadb_server

pytestmark = pytest.mark.slow

FLOW = """
@trigger(event={"name": "orders", "parameters": {"text": "text"}})
class OperatedFlow(FlowSpec):
    text = Parameter("text", default="none")

    @step
    def start(self):
        pass
"""


@dataclass(frozen=True)
class Operated:
    """A Dagster with MySQL that has loaded the flow, whose runs stay in the queue."""

    place: Place
    server: Server
    instance: Any

    def publish(self, text: str) -> None:
        from dagster import AssetKey, AssetMaterialization

        event = AssetMaterialization(AssetKey("orders"), metadata={"text": text})
        self.instance.report_runless_asset_event(event)

    def ticks(self) -> list[Any]:
        """The looks of the sensor."""
        (state,) = [each for each in self.instance.all_instigator_state() if "trigger" in each.name]
        return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id))


@contextmanager
def operated(directory: Path) -> Iterator[Operated]:
    from dagster import DagsterInstance

    (directory / ".metaflow").mkdir()
    source = SOURCE.format(flow=FLOW, name="OperatedFlow")
    (directory / "operated_flow.py").write_text(source)
    place = Place(directory, directory / "home")
    place.home.mkdir()
    created = place.dagster("create")
    assert created.returncode == 0, created.stderr
    limits = [{"key": "metaflow/flow", "value": "OperatedFlow", "limit": 0}]
    held = {"concurrency": {"runs": {"tag_concurrency_limits": limits}}}
    with mariadb_server() as mariadb:
        settings = {"telemetry": {"enabled": False}, **held, **mariadb.storage}
        (place.home / "dagster.yaml").write_text(json.dumps(settings))
        with (
            DagsterInstance.from_config(str(place.home)) as instance,
            running_server(place, "operatedflow_dagster.py") as server,
        ):
            yield Operated(place, server, instance)


def test_what_mysql_cannot_keep_is_refused_and_holds_nothing_up(tmp_path: Path) -> None:
    with operated(tmp_path) as dagster:
        until(
            lambda: [state for state in dagster.instance.all_instigator_state() if dagster.ticks()]
        )
        for number in range(60):
            dagster.publish(f"{number:03}" + "é\\" * 300)
        dagster.publish("é" * 45_000)
        for number in range(60, 120):
            dagster.publish(f"{number:03}" + "x" * 300)
        until(lambda: dagster.instance.get_runs_count() == 120)
        given = [
            run.run_config["ops"]["op_start"]["config"]["text"][:3]
            for run in dagster.instance.get_runs(ascending=True)
        ]
        assert given == [f"{number:03}" for number in range(120)]
        dagster.publish("é" * 45_000)
        until(lambda: any("is too big" in (tick.skip_reason or "") for tick in dagster.ticks()))
        assert not [tick.error for tick in dagster.ticks() if tick.error]
        for target in ([], ["--url", dagster.server.url]):
            refused = dagster.place.dagster("trigger", "--text", "x" * 70_000, *target)
            assert refused.returncode == 1
            assert "Run not started on Dagster" in refused.stderr
            assert "more than Dagster's database can keep of a run" in refused.stderr
        assert dagster.instance.get_runs_count() == 120
