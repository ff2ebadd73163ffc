"""`@schedule`, `@trigger` and `@trigger_on_finish`, as the compiler reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from metaflow import current

from metaflow_dagster import CompileError, synthesize
from metaflow_dagster.automation import check_automation
from metaflow_dagster.frontend import library_session
from metaflow_dagster.ir.flow import Event, Schedule, Trigger, TriggerKind
from tests.unit.flows import flow_class, flow_source, read, refused

PARAMETERS = "size = Parameter('Size', default=1)\nlabel = Parameter('my-label', default='x')"
REQUIRED = "size = Parameter('size', required=True, type=int)"
PROJECT = "@project(name='ads')\n"


def schedule(directory: Path, decorator: str) -> Schedule | None:
    return read(flow_class(directory, flow_source(flow=decorator))).schedule


def triggers(directory: Path, decorators: str, body: str = "") -> tuple[Trigger, ...]:
    return read(flow_class(directory, flow_source(flow=decorators, body=body))).triggers


def events(directory: Path, decorator: str, body: str = PARAMETERS) -> tuple[Event, ...]:
    (trigger,) = triggers(directory, decorator, body)
    return trigger.events


def reasons(directory: Path, decorators: str, body: str = "") -> list[str]:
    return [
        str(each)
        for each in refused(flow_class(directory, flow_source(flow=decorators, body=body)))
    ]


@pytest.mark.parametrize(
    ("decorator", "expected"),
    [
        pytest.param("@schedule", Schedule("0 0 * * *"), id="default"),
        pytest.param("@schedule(hourly=True)", Schedule("0 * * * *"), id="hourly"),
        pytest.param("@schedule(daily=True)", Schedule("0 0 * * *"), id="daily"),
        pytest.param("@schedule(weekly=True)", Schedule("0 0 * * SUN"), id="weekly"),
        pytest.param("@schedule(cron='5 4 * * 1')", Schedule("5 4 * * 1"), id="unix"),
        pytest.param("@schedule(cron='5 4 ? * 2 *')", Schedule("5 4 * * MON"), id="EventBridge"),
        pytest.param(
            "@schedule(cron='5 4 * * *', timezone='Europe/Berlin')",
            Schedule("5 4 * * *", "Europe/Berlin"),
            id="timezone",
        ),
        pytest.param("@schedule(daily=False)", None, id="off"),
        pytest.param("", None, id="none"),
    ],
)
def test_schedule(decorator: str, expected: Schedule | None, tmp_path: Path) -> None:
    assert schedule(tmp_path, decorator) == expected


@pytest.mark.parametrize(
    ("decorator", "part"),
    [
        pytest.param("@schedule(cron='0 0 1 1 ? 2030')", "2030", id="year"),
        pytest.param("@schedule(cron='soon')", "soon", id="no cron"),
        pytest.param("@schedule(timezone='Europe/Berlim')", "Europe/Berlin", id="timezone"),
    ],
)
def test_schedule_that_dagster_cannot_keep(decorator: str, part: str, tmp_path: Path) -> None:
    (reason,) = reasons(tmp_path, decorator)
    assert reason.startswith("@schedule: ")
    assert part in reason


def lacking(directory: Path, decorator: str, body: str) -> list[str]:
    """What runs of a flow would lack that something else starts."""
    flow = read(flow_class(directory, flow_source(flow=decorator, body=body)))
    return [str(problem) for problem in check_automation(flow)]


def test_schedule_gives_no_value_to_a_required_parameter(tmp_path: Path) -> None:
    (reason,) = lacking(tmp_path, "@schedule(daily=True)", REQUIRED)
    assert reason.startswith("@schedule starts runs without parameters, and size is required.")
    assert lacking(tmp_path, "@schedule(daily=False)", REQUIRED) == []


def test_partition_gives_a_required_parameter_its_value(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source(flow="@schedule(daily=True)", body=REQUIRED))
    with pytest.raises(CompileError, match="size is required"):
        synthesize(flow)
    assert "scheduled_partitions(" in synthesize(flow, partitions=["size=static:1,2"])


@pytest.mark.parametrize(
    ("decorator", "expected"),
    [
        pytest.param(
            "@trigger(event='orders')",
            (Event("orders", (("my-label", "my-label"), ("Size", "size"))),),
            id="all parameters of one event",
        ),
        pytest.param(
            "@trigger(event={'name': 'orders', 'parameters': {'size': 'n_orders'}})",
            (Event("orders", (("Size", "n_orders"),)),),
            id="one parameter",
        ),
        pytest.param(
            "@trigger(event={'name': 'orders', 'parameters': ['SIZE', ('my-label', 'l')]})",
            (Event("orders", (("Size", "SIZE"), ("my-label", "l"))),),
            id="list of parameters",
        ),
        pytest.param(
            "@trigger(events=['orders', {'name': 'sales/eu', 'parameters': {'size': 'n'}}])",
            (Event("orders"), Event("sales/eu", (("Size", "n"),))),
            id="several events",
        ),
        pytest.param(
            "@trigger(event=lambda context: 'of-' + context.flow_name)",
            (Event("of-MyFlow", (("my-label", "my-label"), ("Size", "size"))),),
            id="function",
        ),
        pytest.param(
            "@trigger(events=lambda _: ['a', {'name': 'b', 'parameters': lambda _: ['size']}])",
            (Event("a"), Event("b", (("Size", "size"),))),
            id="functions in a function",
        ),
        pytest.param(
            "@trigger(event={'name': namespaced_event_name('a'), 'parameters': {'size': 'n'}})",
            (Event("mfns.a", (("Size", "n"),)),),
            id="namespaced",
        ),
    ],
)
def test_events(decorator: str, expected: tuple[Event, ...], tmp_path: Path) -> None:
    assert events(tmp_path, decorator) == expected


def test_event_in_the_namespace_of_a_project(tmp_path: Path) -> None:
    decorators = PROJECT + "@trigger(event=namespaced_event_name('a'))"
    assert events(tmp_path, decorators, "") == (Event("mfns.ads.user.tester.a"),)


@pytest.mark.parametrize(
    ("decorator", "part"),
    [
        pytest.param("@trigger(event='a b')", "'a b'", id="space"),
        pytest.param("@trigger(event={'name': 5})", "5", id="number"),
        pytest.param("@trigger(events=lambda _: ['a', 'a'])", "names an event twice", id="twice"),
        pytest.param(
            "@trigger(event={'name': 'a', 'parameters': {'sise': 'n'}})",
            "sise, which is no parameter of the flow. Take one of the flow's parameters: my-",
            id="no parameter",
        ),
        pytest.param(
            "@trigger(events=[{'name': 'a', 'parameters': ['size']}, "
            "{'name': 'b', 'parameters': {'Size': 'x'}}])",
            "several events are to give a value to parameter Size",
            id="two events for a parameter",
        ),
        pytest.param(
            "@trigger(event='a', options={'reset_at': {'timezone': 'UTC'}})",
            "reset_at of @trigger names no times",
            id="no times",
        ),
        pytest.param(
            "@trigger(event='a', options=['reset_at'])",
            "options of @trigger are no dictionary",
            id="options that are a list",
        ),
        pytest.param(
            "@trigger(event='a', options={'reset_at': {'cron': 'x'}})",
            "reset_at of @trigger: ",
            id="no cron",
        ),
    ],
)
def test_events_that_are_refused(decorator: str, part: str, tmp_path: Path) -> None:
    (reason,) = reasons(tmp_path, decorator, PARAMETERS)
    assert part in reason


@pytest.mark.parametrize(
    "decorator",
    [
        "@trigger(events=['a', 'b'])",
        "@trigger(event={'name': 'a', 'parameters': ['other']})",
        "@trigger_on_finish(flow='Other')",
    ],
)
def test_required_parameter_needs_a_value_from_an_event(decorator: str, tmp_path: Path) -> None:
    body = f"{REQUIRED}\nother = Parameter('other', default=1)"
    (reason,) = lacking(tmp_path, decorator, body)
    name = decorator.partition("(")[0]
    assert reason.startswith(f"{name} gives no value to parameter size, which is required.")


def test_no_options(tmp_path: Path) -> None:
    (trigger,) = triggers(tmp_path, "@trigger(event='a', options=None)")
    assert trigger.reset_at is None


def test_required_parameter_with_a_value_from_an_event(tmp_path: Path) -> None:
    assert events(tmp_path, "@trigger(event='a')", REQUIRED) == (Event("a", (("size", "size"),)),)


def test_times_at_which_events_are_forgotten(tmp_path: Path) -> None:
    options = "options={'reset_at': {'cron': '0 0 ? * 2 *', 'timezone': 'Europe/Berlin'}}"
    for decorator in ("@trigger(events=['a', 'b'], {})", "@trigger_on_finish(flow='Other', {})"):
        (trigger,) = triggers(tmp_path, decorator.replace("{}", options))
        assert trigger.reset_at == Schedule("0 0 * * MON", "Europe/Berlin")


@pytest.mark.parametrize(
    ("decorators", "expected"),
    [
        pytest.param("@trigger_on_finish(flow='Up')", ["metaflow.Up.end"], id="flow"),
        pytest.param(
            "@trigger_on_finish(flows=['Up', 'Other', 'Up'])",
            ["metaflow.Up.end", "metaflow.Other.end"],
            id="flows",
        ),
        pytest.param(
            PROJECT + "@trigger_on_finish(flow='Up')",
            ["metaflow.ads.user.tester.Up.end"],
            id="same branch",
        ),
        pytest.param(
            PROJECT + "@trigger_on_finish(flow={'name': 'Up', 'project_branch': 'prod'})",
            ["metaflow.ads.prod.Up.end"],
            id="another branch",
        ),
        pytest.param(
            "@trigger_on_finish(flow='shop.test.fix.Up')",
            ["metaflow.shop.test.fix.Up.end"],
            id="another project",
        ),
        pytest.param(
            "@trigger_on_finish(flow=lambda context: 'a.b.' + context.flow_name)",
            ["metaflow.a.b.MyFlow.end"],
            id="function",
        ),
    ],
)
def test_upstream_flows(decorators: str, expected: list[str], tmp_path: Path) -> None:
    (trigger,) = triggers(tmp_path, decorators, PARAMETERS)
    assert trigger.kind is TriggerKind.RUN
    assert trigger.events == tuple(map(Event, expected))


def test_upstream_flow_with_half_a_project(tmp_path: Path) -> None:
    (reason,) = reasons(tmp_path, "@trigger_on_finish(flow={'name': 'Up', 'project': 'ads'})")
    assert "flow Up with a project or a branch only" in reason


def test_project_of_a_flow_that_is_running_is_not_that_of_this_one(tmp_path: Path) -> None:
    running = flow_class(tmp_path, flow_source(flow=PROJECT))
    with library_session(running):
        names = events(tmp_path, "@trigger(event=namespaced_event_name('a'))", "")
        assert current.project_name == "ads"
    assert names == (Event("mfns.a"),)
    assert "project_name" not in current


def test_project_of_another_flow_in_the_process_is_not_that_of_this_one(tmp_path: Path) -> None:
    read(flow_class(tmp_path, flow_source(flow=PROJECT)))
    (trigger,) = triggers(tmp_path, "@trigger_on_finish(flow='Up')")
    assert trigger.events == (Event("metaflow.Up.end"),)


def test_both_decorators_are_two_triggers(tmp_path: Path) -> None:
    decorators = "@trigger(event='a')\n@trigger_on_finish(flow='Up')"
    assert [trigger.kind.value for trigger in triggers(tmp_path, decorators)] == ["event", "run"]


def test_options_for_a_test_by_hand_are_not_baked(tmp_path: Path) -> None:
    flow = read(flow_class(tmp_path, flow_source(flow="@trigger_on_finish(flow='Up')")))
    assert flow.top_options == ()


def test_the_end_of_a_run_is_named_after_the_flow(tmp_path: Path) -> None:
    assert read(flow_class(tmp_path, flow_source())).end_event == "metaflow.MyFlow.end"
    flow = flow_class(tmp_path, flow_source(flow=PROJECT))
    assert read(flow).end_event == "metaflow.ads.user.tester.MyFlow.end"
