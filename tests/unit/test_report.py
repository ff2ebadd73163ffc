"""What `create` says of a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from metaflow_dagster.cli.report import (
    report_automation,
    report_flow,
    report_imports,
    report_needs,
)
from metaflow_dagster.ir.flow import (
    Config,
    DefaultPath,
    DefaultValue,
    End,
    Foreach,
    LeftToMetaflow,
    Linear,
    Parallel,
    Parameter,
    ParameterKind,
    Pod,
    Required,
    Schedule,
    Split,
    Switch,
)
from metaflow_dagster.options import Options
from tests.unit.flows import flow_class, flow_source, read
from tests.unit.samples import flow_of, linear_flow


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines that have been printed."""
    return lambda: capsys.readouterr().out.splitlines()


def test_steps_by_shape(said: Callable[[], list[str]]) -> None:
    shapes = {
        "start": Split(("a", "b")),
        "a": Foreach("item", "things"),
        "item": Switch(("item", "out"), "done"),
        "out": Linear("join"),
        "b": Switch(("c", "join"), "verdict"),
        "c": Parallel("nodes"),
        "nodes": Linear("join"),
        "join": Linear("end"),
        "end": End(),
    }
    report_flow(flow_of(shapes, joins={"join": "start"}))
    assert said() == [
        "",
        "Steps",
        "    split             start",
        "    foreach           a (over things)",
        "    recursive switch  item (by done)",
        "    linear            out, nodes",
        "    switch            b (by verdict)",
        "    parallel          c",
        "    join              join",
        "    end               end",
    ]


def test_parameters_and_configs(said: Callable[[], list[str]]) -> None:
    flow = linear_flow(
        parameters=(
            Parameter("city", ParameterKind.STR, Required()),
            Parameter("rate", ParameterKind.FLOAT, DefaultValue(0.5)),
            Parameter("long", ParameterKind.STR, DefaultValue("x" * 1000)),
            Parameter("odd", ParameterKind.STR, DefaultValue("\ud800\x1b[31m")),
            Parameter("file", ParameterKind.FILE, DefaultPath("/data/a table.csv")),
            Parameter("made", ParameterKind.JSON, LeftToMetaflow()),
        ),
        configs=(Config("settings", {}, is_plain=False),),
    )
    report_flow(flow)
    lines = said()
    assert lines[lines.index("Parameters") :] == [
        "Parameters",
        "    city  str, required",
        "    rate  float, default 0.5",
        f"    long  str, default '{'x' * 49}…",
        r"    odd   str, default '\ud800\x1b[31m'",
        "    file  file, default '/data/a table.csv'",
        "    made  json, default left to the flow",
        "",
        "Configs",
        "    settings  value at compile time",
    ]


def test_decorators_and_how_they_are_handled(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    timed = "@user_step_decorator\ndef timed(step_name, flow, inputs):\n    yield\n\n\nclass MyFlow"
    source = flow_source("@retry\n@timeout(seconds=5)", "@project(name='p')")
    source = source.replace(
        "@step\n    def end", "@timed\n    @retry\n    @card\n    @step\n    def end"
    )
    source = source.replace("@project", timed.replace("class MyFlow", "@project"))
    flow = read(flow_class(tmp_path, f"from metaflow import user_step_decorator\n{source}"))
    report_flow(flow)
    lines = said()
    assert {line.partition(":")[0] for line in lines[lines.index("Decorators") + 1 :]} == {
        "    @project  in the name of the job, and in the tags of its runs",
        "    @retry    start, end",
        "    @timeout  start",
        "    @timed    end",
        "    @card     end",
    }


@pytest.mark.parametrize(
    ("hooks", "pod", "handling"),
    [
        pytest.param(("kubernetes",), None, "starts the step in its own way", id="of Metaflow's"),
        pytest.param((), Pod(), "asked for as the pod of the op", id="of the op"),
    ],
)
def test_pods(
    hooks: tuple[str, ...], pod: Pod | None, handling: str, said: Callable[[], list[str]]
) -> None:
    flow = linear_flow()
    step = replace(flow.steps[0], applied=("kubernetes", "mine.own"), hooks=hooks, pod=pod)
    report_flow(replace(flow, steps=(step, *flow.steps[1:])))
    lines = said()
    assert any(line.startswith(f"    @kubernetes  start: {handling}") for line in lines)
    assert "    @mine.own    start: applied in the step" in lines


def test_long_lists_are_broken_at_their_commas(said: Callable[[], list[str]]) -> None:
    names = [f"step_number_{index}" for index in range(20)]
    shapes = {one: Linear(after) for one, after in zip(names, [*names[1:], "end"], strict=True)}
    report_flow(flow_of({**shapes, "end": End()}))
    lines = said()
    assert max(map(len, lines)) <= 100
    assert all(line.startswith(" " * 12) for line in lines[3:-1])
    assert [one for line in lines for one in names if one in line.replace(",", "").split()] == names


def test_imports_that_once_a_run_would_do(said: Callable[[], list[str]]) -> None:
    flows = [linear_flow(), linear_flow("Other", imports=("pandas", "sklearn.tree"))]
    report_imports(Options(warm_steps=True), flows)
    assert said()[1:] == [
        "Each task of Other imports these; with --preload auto, a run does once:",
        "    pandas, sklearn.tree",
    ]
    report_imports(Options(warm_steps=True, preload=("pandas",)), flows)
    report_imports(Options(warm_steps=False), flows)
    assert said() == []


def test_what_starts_runs(said: Callable[[], list[str]]) -> None:
    report_automation([linear_flow(), linear_flow("Other", schedule=Schedule("0 4 * * *"))])
    assert said()[1:] == [
        "Where Dagster's daemon is up, as it is with `dagster dev`, runs start:",
        "    Other at the times of 0 4 * * * (UTC)",
    ]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        pytest.param(Options(), [], id="nothing"),
        pytest.param(Options(notify_on_error=True), ["METAFLOW_DAGSTER_WEBHOOK_URL"], id="notices"),
        pytest.param(Options(pools=("gpu", "start=db")), ["set gpu 4", "set db 4"], id="pools"),
        pytest.param(Options(workflow_timeout=60), ["run_monitoring"], id="timeout"),
        pytest.param(Options(workflow_priority=3), ["limit of runs"], id="priority"),
        pytest.param(Options(executor="my.own:executor"), ["local", "local"], id="other machines"),
    ],
)
def test_needs(options: Options, needed: list[str], said: Callable[[], list[str]]) -> None:
    report_needs(options, [linear_flow()])
    lines = said()[2:]
    assert len(lines) == len(needed)
    for line, one in zip(lines, needed, strict=True):
        assert one in line
