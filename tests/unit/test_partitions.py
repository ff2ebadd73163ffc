"""`--partition`: what it takes, and which runs schedules and events ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    RunRequest,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
    instance_for_test,
)
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.ir.flow import (
    DefaultValue,
    Event,
    Flow,
    LeftToMetaflow,
    Parameter,
    ParameterKind,
    Required,
    Schedule,
    Trigger,
    TriggerKind,
)
from metaflow_dagster.options import Options
from metaflow_dagster.partitions import check_triggers, made, read_dimensions
from tests.unit.samples import emitted, linear_flow, loaded

PARAMETERS = (
    Parameter("day", ParameterKind.STR, Required()),
    Parameter("until", ParameterKind.STR, LeftToMetaflow()),
    Parameter("region", ParameterKind.STR, DefaultValue("eu")),
    Parameter("shard", ParameterKind.INT, DefaultValue(1)),
    Parameter("sure", ParameterKind.BOOL, DefaultValue(False)),
    Parameter("table", ParameterKind.FILE, LeftToMetaflow()),
)
FLOW = linear_flow(parameters=PARAMETERS)


def partitioned(*texts: str, flow: Flow = FLOW) -> Flow:
    return replace(flow, dimensions=read_dimensions(flow, texts))


INSTALLED = Options(runtime="installed")


def module_of(*texts: str, flow: Flow = FLOW, options: Options = INSTALLED) -> ModuleType:
    """The generated module of a flow with partitions, which Dagster loads."""
    module = loaded(emitted(partitioned(*texts, flow=flow), options))
    Definitions.validate_loadable(module.defs)
    return module


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as made_instance:
        yield made_instance


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        pytest.param(["day"], "is not of the form PARAMETER=PARTITIONS", id="no kind"),
        pytest.param(["dya=daily:2026-01-01"], "has no parameter dya", id="unknown parameter"),
        pytest.param(["day=yearly:2026"], "'yearly' is unknown", id="unknown kind"),
        pytest.param(["day=daily"], "'' is no time in the format", id="no start"),
        pytest.param(["day=daily:1.1.2026"], "Write it as 2026-01-01", id="other format"),
        pytest.param(["day=daily:2026-02-30"], "is no time", id="no day"),
        pytest.param(["day=daily:2026-01-01,format=%Y"], "is no time in the format %Y", id="start"),
        pytest.param(["day=daily:2026-01,format=%Y-%m"], "have the same key", id="loses the day"),
        pytest.param(
            ["day=hourly:2026-01-01-01,format=%Y-%m-%d-%I"], "have the same key", id="loses half"
        ),
        pytest.param(["day=daily:2026-01-01,end=2025-01-01"], "ends before", id="end"),
        pytest.param(["day=daily:2026-01-01,ends=2027-01-01"], "'ends=2027-01-01'", id="word"),
        pytest.param(["day=daily:2026-01-01,timezone=Berlin"], "Europe/Berlin", id="timezone"),
        pytest.param(["day=daily:2026-01-01,hour_offset=x"], "does not take 'x'", id="no offset"),
        pytest.param(["day=daily:2026-01-01,hour_offset=24"], "Dagster does not", id="offset"),
        pytest.param(["day=hourly:2026-01-01-00:00,hour_offset=1"], "no hour_offset", id="hour"),
        pytest.param(["region=static:"], "a key without any text", id="no key"),
        pytest.param(["region=static:eu,eu"], "has key eu twice", id="a key twice"),
        pytest.param(["region=static:a...b"], "Dagster does not take", id="dots"),
        pytest.param(["sure=static:true"], "of type bool", id="bool"),
        pytest.param(["table=dynamic"], "of type file", id="file"),
        pytest.param(["shard=static:1,two"], "which the key 'two' does not fit", id="number"),
        pytest.param(["shard=daily:2026-01-01"], "format=%Y%m%d", id="a day as a number"),
        pytest.param(["day,until=static:a"], "which only time windows have", id="two of a static"),
        pytest.param(["day,day=daily:2026-01-01"], "names day twice", id="one twice"),
        pytest.param(["day=static:a", "day=static:b"], "are for parameter day", id="twice"),
        pytest.param(
            ["day=daily:2026-01-01", "until=daily:2026-01-01"],
            "Both day and until are to have time windows",
            id="two of time",
        ),
        pytest.param(
            ["day=static:a", "until=static:b", "region=static:c"], "There are 3", id="three"
        ),
        pytest.param(["day=static:[a]", "region=static:b"], "one of | [ ]", id="brackets"),
    ],
)
def test_refused(texts: Sequence[str], said: str) -> None:
    with pytest.raises(CompileError) as raised:
        read_dimensions(FLOW, texts)
    assert said in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(CompileError) as raised:
        read_dimensions(FLOW, ["day=x", "nothing=static:a", "region=static:"])
    assert len(raised.value.diagnostics) == 3


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("day=daily:2026-01-01", 'DailyPartitionsDefinition(start_date="2026-01-01")'),
        ("day=monthly:2026-01,format=%Y-%m", 'fmt="%Y-%m"'),
        ("day=weekly:2026-01-01,day_offset=1,hour_offset=6", "day_offset=1, hour_offset=6"),
        ("day=daily:2026-01-01,timezone=Europe/Oslo,end_offset=1", 'timezone="Europe/Oslo"'),
        ("region=static:eu,us", 'StaticPartitionsDefinition(partition_keys=["eu", "us"])'),
        ("region=dynamic", 'DynamicPartitionsDefinition(name="MyFlow.region")'),
        ("region=dynamic:regions", 'DynamicPartitionsDefinition(name="regions")'),
    ],
)
def test_definition(text: str, definition: str) -> None:
    module = module_of(text, options=Options())
    assert definition in " ".join(emitted(partitioned(text)).split()).replace("( ", "(")
    assert module.MyFlow.partitions_def is module.MyFlow_partitions
    (asset,) = module.MyFlow_assets
    assert asset.partitions_def is module.MyFlow_partitions


def test_parameters_of_the_partition_are_not_given_to_the_run() -> None:
    module = module_of("day,until=daily:2026-01-01", "region=static:eu,us")
    assert [*module.MyFlowConfig.model_fields] == ["shard", "sure", "table"]
    parameters = module.FLOW.partitions
    assert (parameters.names, parameters.window_end) == (("day", "region"), "until")
    only = linear_flow(parameters=PARAMETERS[:1])
    assert "MyFlowConfig" not in emitted(partitioned("day=daily:2026-01-01", flow=only))


@given(
    st.sampled_from(["hourly", "daily", "weekly", "monthly"]),
    st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]),
    st.integers(0, 59),
    st.integers(0, 400),
)
def test_keys_name_the_start_of_their_windows(
    kind: str, start: datetime, zone: str, minute: int, days: int
) -> None:
    """Over changes of the clock, too, a key is that of one window, and says when it begins."""
    text = f"day={kind}:{start:%Y-%m-%d-%H:%M},timezone={zone},minute_offset={minute}"
    (dimension,) = read_dimensions(FLOW, [f"{text},format=%Y-%m-%d-%H:%M"])
    definition = made(dimension.partitions)
    now = start.replace(tzinfo=ZoneInfo(zone)) + timedelta(days=days)
    keys = definition.get_partition_keys(current_time=now)[-50:]
    for key in keys:
        window = definition.time_window_for_partition_key(key)
        assert window.start.strftime("%Y-%m-%d-%H:%M") == key[:16]
        assert window.end.timestamp() <= now.timestamp()
    assert len(set(keys)) == len(keys)


def scheduled(module: ModuleType, now: datetime, instance: DagsterInstance) -> list[str]:
    """The partitions whose runs a schedule asks for at one of its times."""
    context = build_schedule_context(instance=instance, scheduled_execution_time=now)
    found: Any = module.MyFlow_schedule(context)
    if isinstance(found, SkipReason):
        return []
    assert all(isinstance(request, RunRequest) for request in found)
    assert len({request.run_key for request in found}) == len(found)
    return [str(request.partition_key) for request in found]


UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "zone", "partitions", "now", "keys"),
    [
        pytest.param(
            "0 6 * * *",
            None,
            ["day=daily:2026-01-01"],
            datetime(2026, 3, 2, 6, tzinfo=UTC),
            ["2026-03-01"],
            id="the day before",
        ),
        pytest.param(
            "0 6 * * MON-FRI",
            None,
            ["day=daily:2026-01-01"],
            datetime(2026, 3, 2, 6, tzinfo=UTC),  # a Monday
            ["2026-02-27", "2026-02-28", "2026-03-01"],
            id="those of the weekend",
        ),
        pytest.param(
            "0 * * * *",
            None,
            ["day=daily:2026-01-01"],
            datetime(2026, 3, 2, 6, tzinfo=UTC),
            [],
            id="nothing new",
        ),
        pytest.param(
            "0 0 1 * *",
            None,
            ["day=monthly:2026-01,format=%Y-%m", "region=static:eu,us"],
            datetime(2026, 3, 1, tzinfo=UTC),
            ["2026-02|eu", "2026-02|us"],
            id="a month of each region",
        ),
        pytest.param(
            "0 6 * * *",
            "Europe/Berlin",
            ["region=static:eu,us"],
            datetime(2026, 3, 2, 6, tzinfo=BERLIN),
            ["eu", "us"],
            id="all regions",
        ),
        pytest.param(
            "0 * * * *",
            "Europe/Berlin",
            ["day=hourly:2026-01-01-00:00,timezone=Europe/Berlin"],
            datetime(2026, 3, 29, 3, tzinfo=BERLIN),
            ["2026-03-29-01:00"],
            id="before the hour that is missing",
        ),
        pytest.param(
            "0 6 * * *",
            None,
            ["day=daily:2026-01-01,end_offset=1"],
            datetime(2026, 3, 2, 6, tzinfo=UTC),
            ["2026-03-02"],
            id="the day itself",
        ),
        pytest.param(
            "0 6 * * *",
            None,
            ["day=daily:2026-03-02"],
            datetime(2026, 3, 2, 6, tzinfo=UTC),
            [],
            id="before the first has ended",
        ),
    ],
)
def test_schedule(
    instance: DagsterInstance,
    cron: str,
    zone: str | None,
    partitions: list[str],
    now: datetime,
    keys: list[str],
) -> None:
    flow = replace(FLOW, schedule=Schedule(cron, zone))
    assert scheduled(module_of(*partitions, flow=flow), now, instance) == keys


def test_schedule_of_partitions_that_are_added(instance: DagsterInstance) -> None:
    module = module_of("region=dynamic:places", flow=replace(FLOW, schedule=Schedule("@daily")))
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert scheduled(module, now, instance) == []
    instance.add_dynamic_partitions("places", ["eu", "us"])
    assert scheduled(module, now, instance) == ["eu", "us"]


def requests(module: ModuleType, sensor: str, instance: DagsterInstance) -> Any:
    """What a sensor asks for, of all that has happened."""
    context = build_sensor_context(instance=instance, definitions=module.defs)
    return getattr(module, sensor)(context)


ORDERS = Trigger(
    TriggerKind.EVENT, (Event("orders", (("day", "date"), ("region", "where"), ("shard", "n"))),)
)


def publish(
    instance: DagsterInstance, event: str, partition: str | None = None, **payload: Any
) -> None:
    instance.report_runless_asset_event(
        AssetMaterialization(AssetKey([event]), metadata=payload, partition=partition)
    )


def test_events_choose_the_partition() -> None:
    flow = replace(FLOW, triggers=(ORDERS,))
    module = module_of("day=daily:2026-01-01", "region=dynamic", flow=flow)
    with instance_for_test() as instance:
        instance.add_dynamic_partitions("MyFlow.region", ["eu"])
        publish(instance, "orders", date="2026-01-02", where="eu", n=3)
        publish(instance, "orders", date="2026-01-03", where="us", n=4)
        publish(instance, "orders", date="yesterday", where="us")
        publish(instance, "orders", date="1999-01-01", where="us")
        publish(instance, "orders", where="us")
        result = requests(module, "MyFlow_trigger", instance)
    asked = [(request.partition_key, request.run_config) for request in result.run_requests]
    assert asked == [
        ("2026-01-02|eu", {"ops": {"op_start": {"config": {"shard": 3}}}}),
        ("2026-01-03|us", {"ops": {"op_start": {"config": {"shard": 4}}}}),
    ]
    (added,) = result.dynamic_partitions_requests
    assert (added.partitions_def_name, added.partition_keys) == ("MyFlow.region", ["us"])


def test_the_end_of_a_run_passes_its_partition_on() -> None:
    upstream = Trigger(TriggerKind.RUN, (Event("metaflow.Up.end"),))
    module = module_of("day=daily:2026-01-01", flow=replace(FLOW, triggers=(upstream,)))
    end = {"id": "Up/dagster-1/end/end"}
    with instance_for_test() as instance:
        publish(instance, "metaflow.Up.end", "2026-01-05", **end)
        publish(instance, "metaflow.Up.end", "eu", **end)
        publish(instance, "metaflow.Up.end", None, **end)
        result = requests(module, "MyFlow_trigger_on_finish", instance)
    assert [request.partition_key for request in result.run_requests] == ["2026-01-05"]


def test_events_of_different_partitions_start_nothing() -> None:
    both = Trigger(TriggerKind.RUN, (Event("metaflow.Up.end"), Event("metaflow.Other.end")))
    module = module_of("day=daily:2026-01-01", flow=replace(FLOW, triggers=(both,)))
    with instance_for_test() as instance:
        publish(instance, "metaflow.Up.end", "2026-01-05", id="Up/dagster-1/end/end")
        publish(instance, "metaflow.Other.end", "2026-01-06", id="Other/dagster-2/end/end")
        result = requests(module, "MyFlow_trigger_on_finish", instance)
    assert result.run_requests == []
    assert "different partitions (2026-01-05 and 2026-01-06)" in str(result.skip_reason)


def test_an_event_has_to_say_the_partition() -> None:
    silent = Trigger(TriggerKind.EVENT, (Event("orders", (("shard", "n"),)),))
    flow = replace(FLOW, triggers=(silent,))
    (problem,) = check_triggers(flow, read_dimensions(flow, ["day=daily:2026-01-01"]))
    assert "@trigger gives no value to parameter day" in str(problem)
