"""`--asset`, `--check-artifact` and `--check-function`: what they take, and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from dagster import AssetKey, Definitions
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.assets import enclosing_join, read_assets, read_checks
from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.ir.assets import (
    ArtifactCheck,
    CheckFunction,
    Comparison,
    IsNone,
    IsTrue,
)
from metaflow_dagster.ir.flow import (
    End,
    Flow,
    Foreach,
    Linear,
    Parallel,
    Project,
    Split,
)
from metaflow_dagster.options import Options
from tests.unit.samples import emitted, flow_of, loaded

FLOW = flow_of(
    {
        "start": Foreach("each", "parts"),
        "each": Foreach("inner", "more"),
        "inner": Split(("left", "right")),
        "left": Linear("meet"),
        "right": Linear("meet"),
        "meet": Linear("inner_join"),
        "inner_join": Linear("outer_join"),
        "outer_join": Parallel("node"),
        "node": Linear("nodes_join"),
        "nodes_join": Linear("end"),
        "end": End(),
    },
    {"meet": "inner", "inner_join": "each", "outer_join": "start", "nodes_join": "outer_join"},
)


@pytest.mark.parametrize(
    ("step", "join"),
    [
        ("start", None),
        ("each", "outer_join"),
        ("left", "outer_join"),
        ("meet", "outer_join"),
        ("inner_join", "outer_join"),
        ("outer_join", None),
        ("node", "nodes_join"),
        ("nodes_join", None),
        ("end", None),
    ],
)
def test_enclosing_join(step: str, join: str | None) -> None:
    assert enclosing_join(FLOW, FLOW.step(step)) == join


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"assets": ["model"]}, "Write STEP.ARTIFACT", id="no step"),
        pytest.param({"assets": ["fit.model"]}, "is of a step that MyFlow does not", id="step"),
        pytest.param({"assets": ["end.model="]}, "names no key of an asset", id="no key"),
        pytest.param({"assets": ["end.model=a//b"]}, "names no key of an asset", id="no part"),
        pytest.param({"assets": ["end.a=k", "end.b=k"]}, "have the key k", id="a key twice"),
        pytest.param(
            {"assets": ["end.a=metaflow.MyFlow.end"]}, "have the key", id="that of the flow"
        ),
        pytest.param({"checks": ["end.a"]}, "has no condition", id="no condition"),
        pytest.param({"checks": ["> 1"]}, "does not name an artifact", id="no artifact"),
        pytest.param({"checks": ["end.a ~ 1"]}, "has no condition", id="operator"),
        pytest.param({"checks": ["end.a > b"]}, "no number and no quoted text", id="a name"),
        pytest.param({"checks": ["end.a > exit()"]}, "no number and no quoted text", id="code"),
        pytest.param({"checks": ["end.a > [1]"]}, "no number and no quoted text", id="a list"),
        pytest.param({"checks": ["fit.a > 1"]}, "Its steps are start", id="step of a check"),
        pytest.param({"checks": ["each.a > 1"]}, "artifact of outer_join", id="in a foreach"),
        pytest.param({"checks": ["node.a > 1"]}, "artifact of nodes_join", id="of nodes"),
        pytest.param({"check_functions": ["end=f"]}, "STEP=MODULE:FUNCTION", id="no module"),
        pytest.param({"check_functions": ["end=m:f;x"]}, "STEP=MODULE:FUNCTION", id="word"),
        pytest.param({"check_functions": ["each=m:f"]}, "a task for each item", id="function"),
    ],
)
def test_refused(options: dict[str, Any], said: str) -> None:
    read = read_assets if "assets" in options else read_checks
    with pytest.raises(CompileError) as raised:
        read(FLOW, Options(**options))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("end.a >= 0.8", ArtifactCheck("end_a_ge", "end", "a", Comparison(">=", 0.8))),
        ("end.a>-1", ArtifactCheck("end_a_gt", "end", "a", Comparison(">", -1))),
        (
            "end.a == 'x; warn'",
            ArtifactCheck("end_a_eq", "end", "a", Comparison("==", "x; warn")),
        ),
        ("end.a != 'b' ; warn", ArtifactCheck("end_a_ne", "end", "a", Comparison("!=", "b"), True)),
        (
            "end.a < 1; blocking; error",
            ArtifactCheck("end_a_lt", "end", "a", Comparison("<", 1), False, True),
        ),
        ("end.a is None", ArtifactCheck("end_a_is_none", "end", "a", IsNone(True))),
        ("end.a is not  none", ArtifactCheck("end_a_is_not_none", "end", "a", IsNone(False))),
        ("end.a is true", ArtifactCheck("end_a_is_true", "end", "a", IsTrue(True))),
        ("end.a is False;warn", ArtifactCheck("end_a_is_false", "end", "a", IsTrue(False), True)),
    ],
)
def test_check(text: str, check: ArtifactCheck) -> None:
    assert read_checks(FLOW, Options(checks=[text])) == (check,)


def test_checks_have_names_of_their_own() -> None:
    options = Options(
        checks=["end.a > 1", "end.a > 2; warn"], check_functions=["end=m.n:f;blocking", "end=o:f"]
    )
    first, second, function, other = read_checks(FLOW, options)
    assert [first.name, second.name] == ["end_a_gt", "end_a_gt_2"]
    assert function == CheckFunction("end_f", "end", "m.n", "f", False, True)
    assert other.name == "end_f_2"


def test_checks_are_of_the_artifact_the_step_or_the_flow() -> None:
    options = Options(
        assets=["end.a=ml/a", "start.b"],
        checks=["end.a > 1", "end.c > 1"],
        check_functions=["end=m:f", "outer_join=m:f"],
    )
    flow = replace(FLOW, assets=read_assets(FLOW, options), checks=read_checks(FLOW, options))
    flow_key = ("metaflow.MyFlow.end",)
    keys = [flow.checked_asset(check) for check in flow.checks]
    assert keys == [("ml", "a"), flow_key, ("ml", "a"), flow_key]


def test_keys_begin_with_the_project() -> None:
    flow = replace(FLOW, project=Project("atlas", "test.x"))
    (asset,) = read_assets(flow, Options(assets=["end.model"]))
    assert asset.key == ("atlas", "test.x", "MyFlow", "end", "model")


_OPTIONS = st.builds(
    Options,
    runtime=st.just("installed"),
    assets=st.lists(
        st.sampled_from([f"{step.name}.a" for step in FLOW.steps]), unique=True, max_size=4
    ),
    checks=st.lists(
        st.sampled_from(["start.a > 1", "end.a == 'x'; blocking", "outer_join.b is None;warn"]),
        max_size=4,
    ),
    owners=st.sampled_from([[], ["team:search"], ["ann@example.com", "team:x"]]),
    upstream=st.sampled_from([[], ["orders"], ["warehouse/orders", "b"]]),
    tags=st.sampled_from([[], ["team:search", "plain", "odd:a b"]]),
)


@given(_OPTIONS)
def test_definitions_load(options: Options) -> None:
    flow = replace(FLOW, assets=read_assets(FLOW, options), checks=read_checks(FLOW, options))
    module = loaded(emitted(flow, options))
    Definitions.validate_loadable(module.defs)
    end = module.MyFlow_assets[-1]
    keys = {asset.key for asset in module.MyFlow_assets}
    upstream = {AssetKey(key.split("/")) for key in options.upstream}
    assert {dep.asset_key for dep in end.deps} == (keys - {end.key}) | upstream
    assert all(asset.owners == list(options.owners) for asset in module.MyFlow_assets)
    checks: Sequence[Any] = module.defs.asset_checks or ()
    assert {key.asset_key for check in checks for key in check.check_keys} <= keys
    assert len(checks) == len(flow.checks)


def told(flow: Flow, options: Options) -> str:
    text = emitted(flow, replace(options, runtime="installed"))
    return text[text.index("def op_start") : text.index("@job(")]


def test_each_op_tells_of_its_own_artifacts() -> None:
    options = Options(assets=["each.a", "end.b=ml/b"], checks=["outer_join.c > 1"])
    flow = replace(FLOW, assets=read_assets(FLOW, options), checks=read_checks(FLOW, options))
    text = told(flow, options)
    assert text.count("publish_artifacts(") == text.count("publish_items(") == 1
    assert text.count("check_artifacts(") == 1
    join = text[text.index("def op_outer_join") : text.index("def op_node")]
    assert join.index("publish_items") < join.index("check_artifacts") < join.index("return")
    end = text[text.index("def op_end") :]
    assert end.index('{"b": ["ml", "b"]}') < end.index("publish_end") < end.index("return")
