"""The sensors that start runs, on the event log of a real instance.

Annotations are no strings here: Dagster makes schemas of some.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    Config,
    DagsterInstance,
    MetadataValue,
    OpExecutionContext,
    RunRequest,
    SensorResult,
    TableColumn,
    TableColumnDep,
    TableColumnLineage,
    TableRecord,
    TableSchema,
    build_sensor_context,
    instance_for_test,
    job,
    op,
    serialize_value,
    validate_run_config,
)
from dagster._core.definitions.metadata import metadata_value
from dagster._core.definitions.metadata.source_code import (
    CodeReferencesMetadataValue,
    LocalFileCodeReference,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from sqlalchemy import text

from metaflow_dagster.runtime import event_log, triggers
from metaflow_dagster.runtime.events import StartConfig, UnusablePayload, parameter_values
from metaflow_dagster.runtime.triggers import Trigger, triggered_runs

ORDERS = Trigger("event", {"orders": {"size": "n"}})
BOTH = Trigger("event", {"orders": {"size": "n"}, "payments": {"label": "l"}})
END = "metaflow.Up.end"


class FlowConfig(Config):
    size: int = 1
    rate: float = 0.5
    sure: bool = False
    label: str = "none"
    maybe: Optional[int] = None  # noqa: UP045
    data: Any = Field({"a": 1})
    my_label: str = Field("x", alias="my-label")


class NeedyConfig(Config):
    size: int
    label: str = "none"


CONFIG = StartConfig("op_start", FlowConfig)


@op
def op_start(context: OpExecutionContext, config: FlowConfig) -> None: ...


@job
def flow_job() -> None:
    op_start()


@dataclass
class Sensor:
    """A sensor as the daemon evaluates it, look by look."""

    instance: DagsterInstance
    trigger: Trigger
    config: StartConfig | None = CONFIG
    cursor: str | None = None
    begin: float = event_log.LOADED_AT
    most_events: int = event_log.MOST_EVENTS

    def look(self) -> SensorResult:
        context = build_sensor_context(self.instance, cursor=self.cursor)
        result = triggered_runs(context, self.trigger, self.config, self.begin, self.most_events)
        self.cursor = result.cursor
        return result

    def runs(self) -> list[RunRequest]:
        return list(self.look().run_requests or [])

    def given(self) -> list[Any]:
        """What the runs of a look give to the flow's parameters."""
        return [parameters(run) for run in self.runs()]


def parameters(run: RunRequest) -> Any:
    return run.run_config["ops"]["op_start"]["config"] if run.run_config else {}


def publish(instance: DagsterInstance, event: str, **payload: Any) -> None:
    instance.report_runless_asset_event(AssetMaterialization(AssetKey(event), metadata=payload))


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def test_each_event_starts_a_run_in_turn(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    assert sensor.runs() == []
    for size in (3, 1, 2):
        publish(instance, "orders", n=size)
    publish(instance, "other", n=9)
    assert sensor.given() == [{"size": 3}, {"size": 1}, {"size": 2}]
    publish(instance, "orders", n=4)
    assert sensor.given() == [{"size": 4}]
    assert [sensor.given() for _ in range(3)] == [[], [], []]


def test_steps_are_told_of_the_event(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    before = int(time.time())
    publish(instance, "orders", id="my-id")
    publish(instance, "orders", id=7)
    first, second = (json.loads(run.tags["metaflow/triggers"]) for run in sensor.runs())
    assert first[0].pop("timestamp") >= before
    assert first == [{"name": "orders", "id": "my-id", "type": "event"}]
    assert second[0]["id"] == "2"  # its number in the event log


def test_runs_of_equal_events_have_keys_of_their_own(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    publish(instance, "orders", id="same", n=1)
    publish(instance, "orders", id="same", n=1)
    first, second = sensor.runs()
    assert first.run_key != second.run_key


def kinds_of_metadata() -> dict[str, type[Any]]:
    """The kinds of metadata values that the installed Dagster has, by name."""

    def below(kind: type[Any]) -> Iterator[type[Any]]:
        for inner in kind.__subclasses__():
            yield from below(inner)
            yield inner

    return {kind.__name__: kind for kind in below(MetadataValue)}


def made(name: str, *arguments: Any) -> Any:
    """Metadata of a kind that not every Dagster has."""
    kind = getattr(metadata_value, name, None)
    return kind and kind(*arguments)


COLUMN = TableColumn("a")
# What of each kind is published, and what a parameter of text is given; nothing if no run starts.
KINDS: dict[str, tuple[Any, str | None]] = {
    "BoolMetadataValue": (True, "true"),
    "CodeLocationReconstructionMetadataValue": (
        MetadataValue.code_location_reconstruction("x"),
        "x",
    ),
    "CodeReferencesMetadataValue": (
        CodeReferencesMetadataValue(
            code_references=[LocalFileCodeReference(file_path="/a", line_number=1)]
        ),
        None,
    ),
    "DagsterAssetMetadataValue": (MetadataValue.asset(AssetKey("a")), None),
    "DagsterJobMetadataValue": (MetadataValue.job("a", "b", repository_name="c"), None),
    "DagsterRunMetadataValue": (MetadataValue.dagster_run("x"), "x"),
    "FloatMetadataValue": (1.5, "1.5"),
    "IntMetadataValue": (5, "5"),
    "JsonMetadataValue": ({"a": [1, None]}, '{"a": [1, null]}'),
    "MarkdownMetadataValue": (MetadataValue.md("x"), "x"),
    "NotebookMetadataValue": (MetadataValue.notebook("x"), "x"),
    "NullMetadataValue": (None, "none"),  # the default
    "ObjectMetadataValue": (made("ObjectMetadataValue", "x"), "x"),
    "PathMetadataValue": (MetadataValue.path("x"), "x"),
    "PoolMetadataValue": (made("PoolMetadataValue", "x"), "x"),
    "PythonArtifactMetadataValue": (MetadataValue.python_artifact(dict), None),
    "TableColumnLineageMetadataValue": (
        MetadataValue.column_lineage(TableColumnLineage({"a": [TableColumnDep("b", "c")]})),
        None,
    ),
    "TableMetadataValue": (
        MetadataValue.table([TableRecord({"a": 1})], TableSchema([COLUMN])),
        None,
    ),
    "TableSchemaMetadataValue": (MetadataValue.table_schema(TableSchema([COLUMN])), None),
    "TextMetadataValue": ("x", "x"),
    "TimestampMetadataValue": (MetadataValue.timestamp(1.5), "1.5"),
    "UrlMetadataValue": (MetadataValue.url("x"), "x"),
}


@pytest.mark.parametrize("parameter", ["label", "data"])
def test_metadata_of_every_kind_gives_a_value_or_starts_nothing(
    parameter: str, instance: DagsterInstance
) -> None:
    assert kinds_of_metadata().keys() <= KINDS.keys(), "Dagster has a new kind: what does it give?"
    sensor = Sensor(instance, Trigger("event", {"orders": {parameter: "field"}}))
    expected: list[Any] = []
    for name in sorted(kinds_of_metadata()):
        value, text = KINDS[name]
        publish(instance, "orders", field=value)
        if parameter == "label" and text is not None:
            expected.append({} if value is None else {"label": text})
        # What is no text is a value of JSON as it is, and the texts here are none of JSON.
        if parameter == "data" and (value is None or isinstance(value, (bool, int, float, dict))):
            expected.append({} if value is None else {"data": value})
        if parameter == "data" and name == "TimestampMetadataValue":
            expected.append({"data": 1.5})
    publish(instance, "orders", field='"the last"')
    assert sensor.given() == [*expected, {parameter: '"the last"'}]
    publish(instance, "orders", field=KINDS["TableMetadataValue"][0])
    skipped = sensor.look().skip_reason
    assert skipped is not None
    assert f"that does not fit parameter {parameter}: " in skipped.skip_message
    assert "Table" in skipped.skip_message


def test_look_requests_no_more_than_a_tick_can_keep(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, BOTH)
    texts = [f"{number:02}" + "é" * 1000 for number in range(20)]
    for number, label in enumerate(texts):
        publish(instance, "orders", n=number)
        publish(instance, "payments", l=label)
    publish(instance, "payments", l="waits")
    looks = [sensor.look() for _ in range(8)]
    given = [parameters(run) for look in looks for run in look.run_requests or []]
    assert given == [{"size": n, "label": label} for n, label in enumerate(texts)]
    assert len(looks[0].run_requests or []) > 3
    for look in looks:
        assert len(serialize_value(list(look.run_requests or []))) < triggers.TICK_BYTES
        assert len(str(look.cursor)) < 5_000
    publish(instance, "orders", n=99)
    assert sensor.given() == [{"size": 99, "label": "waits"}]


def test_request_that_fills_a_tick_has_it_for_itself(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, Trigger("event", {"orders": {"label": "l"}}))
    texts = ["a", "é" * triggers.TICK_BYTES, "b", "c"]
    for label in texts:
        publish(instance, "orders", l=label)
    looks = [[each["label"] for each in sensor.given()] for _ in range(4)]
    assert looks == [texts[:1], texts[1:2], texts[2:], []]


def test_why_nothing_starts_is_no_longer_than_a_tick_can_keep(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    for _ in range(100):
        publish(instance, "orders", n="many words")
    skipped = sensor.look().skip_reason
    assert skipped is not None
    assert "The log of this tick has 3" in skipped.skip_message
    assert len(skipped.skip_message) < triggers.PROBLEM_BYTES + 100


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        pytest.param({"n": "many"}, "a field n that does not fit parameter size", id="no number"),
        pytest.param({"n": [1]}, "a field n that does not fit parameter size", id="list"),
        pytest.param({"n": 1.5}, "a field n that does not fit parameter size", id="fraction"),
        pytest.param({"x": {"__class__": "Nope"}}, "that Dagster cannot read", id="class"),
        pytest.param({"x": {"__set__": 5}}, "that Dagster cannot read", id="set"),
        pytest.param({"x": {"__enum__": "A"}}, "that Dagster cannot read", id="enum"),
    ],
)
def test_bad_payload_is_told_and_does_not_stop_others(
    payload: dict[str, Any], problem: str, instance: DagsterInstance
) -> None:
    sensor = Sensor(instance, ORDERS)
    publish(instance, "orders", n=1)
    publish(instance, "orders", **payload)
    publish(instance, "orders", n=2)
    assert sensor.given() == [{"size": 1}, {"size": 2}]
    publish(instance, "orders", **payload)
    result = sensor.look()
    assert result.skip_reason is not None
    assert result.skip_reason.skip_message.startswith("Event orders, no. 4 of the event log, has ")
    assert problem in result.skip_reason.skip_message
    assert "Nope" not in result.skip_reason.skip_message
    assert [sensor.given() for _ in range(3)] == [[], [], []]


def test_only_what_dagster_cannot_read_is_passed_over(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    publish(instance, "orders", n=1)
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("ALTER TABLE event_logs RENAME TO elsewhere"))
    with pytest.raises(Exception, match="event_logs"):
        sensor.look()
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("ALTER TABLE elsewhere RENAME TO event_logs"))
    assert sensor.given() == [{"size": 1}]


def test_missing_field_leaves_the_default(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    publish(instance, "orders")
    publish(instance, "orders", n=None)
    assert sensor.given() == [{}, {}]


def test_event_without_a_field_that_is_needed_does_not_count(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, BOTH, StartConfig("op_start", NeedyConfig))
    publish(instance, "orders")
    publish(instance, "payments", l="x")
    skipped = sensor.look().skip_reason
    assert skipped is not None
    assert "has no field n, which parameter size needs." in skipped.skip_message
    assert skipped.skip_message.endswith("Waiting for orders.")
    publish(instance, "orders", n=5)
    assert sensor.given() == [{"size": 5, "label": "x"}]


def test_several_events_have_to_happen_all(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, BOTH)
    publish(instance, "orders", n=1)
    assert sensor.given() == []
    publish(instance, "orders", n=2)
    publish(instance, "payments", l="a")
    publish(instance, "payments", l="b")
    assert sensor.given() == [{"size": 2, "label": "a"}]
    publish(instance, "orders", n=3)
    (run,) = sensor.runs()
    assert parameters(run) == {"size": 3, "label": "b"}
    assert [load["name"] for load in json.loads(run.tags["metaflow/triggers"])] == [
        "orders",
        "payments",
    ]


def test_what_had_happened_before_the_file_was_loaded_does_not_count(
    instance: DagsterInstance,
) -> None:
    publish(instance, "orders", n=1)
    sensor = Sensor(instance, ORDERS, begin=time.time())
    publish(instance, "orders", n=2)
    assert sensor.given() == [{"size": 2}]
    assert sensor.given() == []


def test_event_that_a_flow_begins_to_wait_for_begins_now(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    publish(instance, "orders", n=1)
    publish(instance, "payments", l="old")
    assert sensor.given() == [{"size": 1}]
    sensor.begin = time.time()
    sensor.trigger = BOTH
    publish(instance, "orders", n=2)
    assert sensor.given() == []
    publish(instance, "payments", l="new")
    assert sensor.given() == [{"size": 2, "label": "new"}]
    sensor.trigger = Trigger("event", {"payments": {}})
    publish(instance, "orders", n=3)
    assert sensor.runs() == []


def test_parameter_that_was_renamed_while_an_event_waits(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, BOTH)
    publish(instance, "orders", n="many words")
    sensor.trigger = Trigger("event", {"orders": {"label": "n"}, "payments": {}})
    assert sensor.given() == []
    sensor.trigger = BOTH
    publish(instance, "payments", l="a")
    assert sensor.given() == []
    publish(instance, "orders", n=1)
    assert sensor.given() == [{"size": 1, "label": "a"}]


def test_event_that_a_database_shows_late_is_not_lost(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS)
    for size in (1, 2, 3):
        publish(instance, "orders", n=size)
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("CREATE TABLE late AS SELECT * FROM event_logs WHERE id = 2"))
        connection.execute(text("DELETE FROM event_logs WHERE id = 2"))
    assert sensor.given() == [{"size": 1}, {"size": 3}]
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("INSERT INTO event_logs SELECT * FROM late"))
    assert sensor.given() == [{"size": 2}]
    assert [sensor.given() for _ in range(3)] == [[], [], []]


def test_many_events_take_several_looks(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, ORDERS, most_events=5)
    for size in range(12):
        publish(instance, "orders", n=size)
    looks = [[each["size"] for each in sensor.given()] for _ in range(4)]
    assert looks == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11], []]


def test_events_are_in_turn_where_one_name_takes_several_looks(instance: DagsterInstance) -> None:
    sensor = Sensor(instance, BOTH, most_events=10)  # five of each name
    for size in range(8):
        publish(instance, "orders", n=size)
    publish(instance, "payments", l="a")
    publish(instance, "orders", n=8)
    publish(instance, "payments", l="b")
    assert [sensor.given() for _ in range(4)] == [
        [],
        [{"size": 7, "label": "a"}, {"size": 8, "label": "b"}],
        [],
        [],
    ]


def expected_runs(trigger: Trigger, events: Sequence[tuple[str, int]]) -> list[Any]:
    """What runs are given: the last event of each name, whenever there is one of each."""
    runs = []
    last: dict[str, int] = {}
    for name, value in events:
        (parameter,) = trigger.events[name]
        last[parameter] = value
        if len(last) == len(trigger.events):
            runs.append(last)
            last = {}
    return runs


ONE = Trigger("event", {"a": {"size": "v"}})
TWO = Trigger("event", {"a": {"size": "v"}, "b": {"maybe": "v"}})


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.lists(st.one_of(st.sampled_from(["a", "b"]), st.none()), max_size=14),
    st.sampled_from([ONE, TWO]),
)
def test_it_does_not_matter_when_a_sensor_looks(
    happening: list[str | None], trigger: Trigger
) -> None:
    instance = DagsterInstance.ephemeral()
    sensor = Sensor(instance, trigger)
    given_to_runs: list[Any] = []
    events = []
    for value, name in enumerate(happening):
        if name is None:
            given_to_runs += sensor.given()
        else:
            publish(instance, name, v=value)
            if name in trigger.events:
                events.append((name, value))
    given_to_runs += sensor.given()
    assert given_to_runs == expected_runs(trigger, events)


def happened_at(instance: DagsterInstance, times: dict[int, float]) -> None:
    """Set when events of the log have happened."""
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        for number, seconds in times.items():
            moment = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(seconds))
            connection.execute(
                text("UPDATE event_logs SET timestamp = :at WHERE id = :id"),
                {"at": moment, "id": number},
            )
            connection.execute(
                text(
                    "UPDATE event_logs SET event = json_set(event, '$.timestamp', :at) "
                    "WHERE id = :id"
                ),
                {"at": seconds, "id": number},
            )


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        pytest.param("2030-01-01 09:00", "2030-01-01 22:00", 1, id="same day"),
        pytest.param("2030-01-01 09:00", "2030-01-02 09:00", 0, id="next day"),
        pytest.param("2030-01-01 22:30", "2030-01-01 23:30", 0, id="midnight in Berlin"),
    ],
)
def test_events_are_forgotten_at_times(
    first: str, second: str, runs: int, instance: DagsterInstance
) -> None:
    sensor = Sensor(instance, Trigger("event", BOTH.events, "0 0 * * *", "Europe/Berlin"))
    publish(instance, "orders", n=1)
    publish(instance, "payments", l="a")
    moments = [time.mktime(time.strptime(each, "%Y-%m-%d %H:%M")) for each in (first, second)]
    happened_at(instance, {n: at - time.timezone for n, at in enumerate(moments, 1)})
    assert len(sensor.runs()) == runs


def test_end_of_a_run_starts_one_run_however_often_it_is_published(
    instance: DagsterInstance,
) -> None:
    sensor = Sensor(instance, Trigger("run", {END: {}}), None)
    publish(instance, END, id="Up/dagster-1/end/2", pathspec="Up/dagster-1")
    publish(instance, END, id="Up/dagster-1/end/2", pathspec="Up/dagster-1")
    publish(instance, END, id="Up/dagster-2/end/2", pathspec="Up/dagster-2")
    first, again, second = sensor.runs()
    assert first.run_key == again.run_key != second.run_key
    assert json.loads(first.tags["metaflow/triggers"])[0]["type"] == "run"


@pytest.mark.parametrize("payload", [{}, {"id": "x"}, {"id": 5}, {"id": "a/b/c/d" * 99}])
def test_what_does_not_name_a_run_does_not_tell_of_its_end(
    payload: dict[str, Any], instance: DagsterInstance
) -> None:
    sensor = Sensor(instance, Trigger("run", {END: {}}), None)
    publish(instance, END, **payload)
    skipped = sensor.look().skip_reason
    assert skipped is not None
    assert "does not name the task that has ended a run" in skipped.skip_message


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("size", "3", 3),
        ("size", 3.0, 3),
        ("rate", "0.25", 0.25),
        ("rate", 2, 2.0),
        ("sure", "true", True),
        ("sure", "off", False),
        ("label", 5, "5"),
        ("label", True, "true"),
        ("label", {"a": [1]}, '{"a": [1]}'),
        ("label", "", ""),
        ("maybe", "4", 4),
        ("data", [1, {"b": None}], [1, {"b": None}]),
        ("data", '{"b": 2}', '{"b": 2}'),
        ("data", "NaN", "NaN"),
        ("my-label", "y", "y"),
    ],
)
def test_values_have_the_types_of_parameters(parameter: str, value: Any, expected: Any) -> None:
    values = parameter_values({parameter: "field"}, CONFIG, {"field": value})
    assert repr(values) == repr({parameter: expected})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def is_no_json(value: Any) -> bool:
    """Whether something is a text that is no JSON."""
    try:
        json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return True
    return False


@settings(max_examples=150)
@given(st.sampled_from(["size", "rate", "sure", "label", "maybe", "data", "my-label"]), json_values)
def test_a_value_is_one_that_the_job_takes_or_it_is_refused(parameter: str, value: Any) -> None:
    try:
        values = parameter_values({parameter: "field"}, CONFIG, {"field": value})
    except UnusablePayload:
        assert parameter in ("size", "rate", "sure", "maybe") or (
            parameter == "data" and is_no_json(value)
        )
    else:
        assert validate_run_config(flow_job, {"ops": {"op_start": {"config": values}}})
