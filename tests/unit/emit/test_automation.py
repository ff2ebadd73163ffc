"""The schedule and the sensors of a generated file, and the asset of the ends of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dagster import (
    AssetKey,
    AssetSpec,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    RunFailureSensorContext,
)

from metaflow_dagster.ir.flow import (
    Event,
    Parameter,
    ParameterKind,
    Project,
    Required,
    Schedule,
    Trigger,
    TriggerKind,
)
from metaflow_dagster.options import Options
from tests.unit.samples import emitted, linear_flow, loaded

ORDERS = Trigger(TriggerKind.EVENT, (Event("orders", (("size", "n"),)),))
UPSTREAM = Trigger(TriggerKind.RUN, (Event("metaflow.Up.end"), Event("metaflow.Other.end")))
AFTER_ONE = Trigger(TriggerKind.RUN, (Event("metaflow.One.end"),))
ON_THE_EVENT_OF_ONE = Trigger(TriggerKind.EVENT, (Event("metaflow.One.end"),))
SIZE = Parameter("size", ParameterKind.INT, Required())


def definitions(text: str) -> Definitions:
    found: Any = loaded(text).defs
    Definitions.validate_loadable(found)
    assert isinstance(found, Definitions)
    return found


def test_schedule_is_on() -> None:
    flow = replace(linear_flow(), schedule=Schedule("0 6 * * MON", "Europe/Berlin"))
    (schedule,) = definitions(emitted(flow)).schedules or ()
    assert schedule.name == "MyFlow_schedule"
    assert schedule.cron_schedule == "0 6 * * MON"
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.job_name == "MyFlow"
    assert schedule.default_status is DefaultScheduleStatus.RUNNING


def test_without_a_timezone_the_schedule_has_that_of_dagster() -> None:
    text = emitted(replace(linear_flow(), schedule=Schedule("0 6 * * *")))
    assert "execution_timezone" not in text
    (schedule,) = definitions(text).schedules or ()
    assert schedule.execution_timezone in (None, "UTC")


def test_sensors_are_on_and_say_what_they_do() -> None:
    flow = replace(linear_flow(), triggers=(ORDERS, UPSTREAM), parameters=(SIZE,))
    sensors = {
        sensor.name: sensor
        for sensor in definitions(emitted(flow, Options(name="nightly"))).sensors or ()
    }
    assert {name: sensor.description for name, sensor in sensors.items()} == {
        "nightly_trigger": "Runs MyFlow when event orders is published.",
        "nightly_trigger_on_finish": "Runs MyFlow when a run of Up and one of Other has succeeded.",
    }
    assert {sensor.default_status for sensor in sensors.values()} == {DefaultSensorStatus.RUNNING}
    assert [sensor.job_name for sensor in sensors.values()] == ["nightly", "nightly"]


def test_only_a_trigger_with_parameters_knows_their_config() -> None:
    text = emitted(replace(linear_flow(), triggers=(ORDERS, UPSTREAM), parameters=(SIZE,)))
    trigger, on_finish = text.split("@sensor(")[1:]
    assert 'Trigger("event", {"orders": {"size": "n"}})' in trigger
    assert 'triggered_runs(context, trigger, StartConfig("op_start", MyFlowConfig))' in trigger
    assert 'Trigger("run", {"metaflow.Up.end": {}, "metaflow.Other.end": {}})' in on_finish
    assert "triggered_runs(context, trigger)\n" in on_finish


def test_times_at_which_events_are_forgotten() -> None:
    trigger = replace(ORDERS, reset_at=Schedule("0 0 * * *", "Europe/Berlin"))
    text = emitted(replace(linear_flow(), triggers=(trigger,), parameters=(SIZE,)))
    assert 'reset_cron="0 0 * * *"' in text
    assert 'reset_timezone="Europe/Berlin"' in text


def test_end_of_a_run_is_an_asset_downstream_of_what_triggers_the_flow() -> None:
    paths = Trigger(TriggerKind.EVENT, (Event("sales/eu"),))
    flow = replace(linear_flow(), triggers=(paths, UPSTREAM), project=Project("ads", "test.x"))
    event, spec = definitions(emitted(flow)).assets or ()
    assert isinstance(event, AssetSpec)
    assert isinstance(spec, AssetSpec)
    assert (event.key, event.kinds) == (AssetKey(["sales", "eu"]), {"event"})
    assert spec.key == AssetKey(["metaflow.ads.test.x.MyFlow.end"])
    assert [dep.asset_key for dep in spec.deps] == [
        AssetKey(["sales", "eu"]),
        AssetKey(["metaflow.Up.end"]),
        AssetKey(["metaflow.Other.end"]),
    ]
    assert spec.kinds == {"metaflow"}


def test_the_end_is_published_by_the_last_op() -> None:
    published = emitted(linear_flow()).split("def op_end(")[1]
    assert "publish_end(FLOW, context, task)" in published
    assert emitted(linear_flow()).count("publish_end(FLOW, context, task)") == 1


def test_flows_with_the_same_events_can_be_merged() -> None:
    first = replace(linear_flow("One"), triggers=(Trigger(TriggerKind.EVENT, (Event("orders"),)),))
    second = replace(linear_flow("Two"), triggers=first.triggers)
    again = emitted(first, Options(name="one_more_time"))
    after = replace(linear_flow("Three"), triggers=(AFTER_ONE, ON_THE_EVENT_OF_ONE))
    texts = (emitted(first), emitted(second), again, emitted(after))
    merged = Definitions.merge(*map(definitions, texts))
    Definitions.validate_loadable(merged)
    assert len(merged.get_repository_def().asset_graph.get_all_asset_keys()) == 4


def test_notices_are_sent_for_the_runs_of_the_job() -> None:
    options = Options(notify_on_error=True, notify_on_success=True)
    sensors = definitions(emitted(linear_flow(), options)).sensors or ()
    assert [sensor.name for sensor in sensors] == [
        "MyFlow_notify_on_error",
        "MyFlow_notify_on_success",
    ]
    assert {sensor.default_status for sensor in sensors} == {DefaultSensorStatus.RUNNING}


def test_without_notices_there_is_nothing_of_them() -> None:
    assert RunFailureSensorContext.__name__ not in emitted(linear_flow())
    assert "webhook" not in emitted(linear_flow()).lower()
