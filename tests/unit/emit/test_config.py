from __future__ import annotations

import builtins
import keyword
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import dagster
import pydantic
import pytest
from dagster import DagsterInstance
from hypothesis import given, settings
from hypothesis import strategies as st

from metaflow_dagster.emit.config import needs_raw_config
from metaflow_dagster.ir.flow import (
    Default,
    DefaultPath,
    DefaultValue,
    End,
    LeftToMetaflow,
    Parameter,
    ParameterKind,
    Required,
)
from tests.unit.samples import emitted, flow_of, job_of, loaded

INT, STR, JSON = ParameterKind.INT, ParameterKind.STR, ParameterKind.JSON


def module_of(parameters: Sequence[Parameter]) -> ModuleType:
    """The module of a flow of one step, loaded with every warning an error."""
    flow = flow_of({"start": End()}, parameters=tuple(parameters))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return loaded(emitted(flow))


def received(module: ModuleType, given_values: Mapping[str, Any]) -> dict[str, Any]:
    """What the start op passes on to `start_run`."""
    calls = []

    def start_run(_flow: object, _context: object, parameters: Mapping[str, Any]) -> str:
        calls.append(dict(parameters))
        return "run/_parameters/params"

    def run_step(*_: object, **__: object) -> Any:
        return module.FinishedTask("run/start/start", 0, "", [], {})

    vars(module).update(start_run=start_run, run_step=run_step)
    with DagsterInstance.ephemeral() as instance:
        result = job_of(module).execute_in_process(
            {"ops": {"op_start": {"config": dict(given_values)}}}, instance=instance
        )
    assert result.success
    (parameters,) = calls
    return parameters


# Dagster cannot store a run whose configuration has a key that it uses itself for what it stores.
MEMBERS = sorted({*dir(dagster.Config), *dir(pydantic.BaseModel)} - {"__class__"})
AWKWARD = [
    *keyword.kwlist,
    *keyword.softkwlist,
    *dir(builtins),
    *("Any", "Config", "Field", "HERE", "Optional", "os", "self", "cls", "config", "context"),
    *("my-param", "my--param", "-dash", "_hidden", "__private", "größe", "数", "ª", "model_x"),
    *("x", "x_", "x__", "_x", "parameter", "parameter_x", "json_", "MyFlowConfig", "alias"),
]


def same_to_click(name: str) -> str:
    return name.replace("-", "_").lower()


names = st.one_of(
    st.sampled_from(AWKWARD),
    st.sampled_from(MEMBERS),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
    st.from_regex(r"[xX_-]{1,4}", fullmatch=True),
).filter(lambda name: same_to_click(name).isidentifier())

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**31), 2**31), st.text("ab'\"\\\n", max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=5,
)
VALUES: Mapping[ParameterKind, st.SearchStrategy[Any]] = {
    ParameterKind.STR: st.text(st.characters(codec="utf-8"), max_size=20),
    ParameterKind.FILE: st.text("abc/.", max_size=20),
    ParameterKind.INT: st.integers(-(2**31) + 1, 2**31 - 1),
    ParameterKind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    ParameterKind.BOOL: st.booleans(),
    ParameterKind.JSON: json_values,
}


@st.composite
def parameters_with_values(draw: st.DrawFn) -> list[tuple[Parameter, Any]]:
    """Parameters, and what a run gives each, or None."""
    drawn = []
    for name in draw(st.lists(names, min_size=1, max_size=6, unique_by=same_to_click)):
        kind = draw(st.sampled_from(ParameterKind))
        path = kind is ParameterKind.FILE
        default: Default = draw(
            st.one_of(
                st.just(Required()),
                st.just(LeftToMetaflow()),
                st.just(DefaultPath("/project/a")) if path else VALUES[kind].map(DefaultValue),
            )
        )
        parameter = Parameter(name, kind, default, draw(st.text(max_size=100)))
        value = (
            draw(VALUES[kind]) if isinstance(default, Required) else draw(st.none() | VALUES[kind])
        )
        drawn.append((parameter, value))
    return drawn


def expected(parameter: Parameter, value: Any) -> Any:
    if value is not None:
        return value
    match parameter.default:
        case DefaultValue(default):
            return default
        case DefaultPath(path):
            return path
        case _:
            return None


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(parameters_with_values())
def test_parameters_arrive_under_their_own_names(drawn: list[tuple[Parameter, Any]]) -> None:
    module = module_of([parameter for parameter, _ in drawn])
    given_values = {parameter.name: value for parameter, value in drawn if value is not None}
    everything = {parameter.name: expected(parameter, value) for parameter, value in drawn}
    left = {name: value for name, value in everything.items() if value is not None}
    assert received(module, given_values) == left


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("_x", "x"), id="underscore"),
        pytest.param(("json", "json_", "json__"), id="member"),
        pytest.param(("class", "class_"), id="keyword"),
        pytest.param(("a-b", "a_-b", "-a-b"), id="dashes"),
        pytest.param(("model_x", "parameter_model_x"), id="pydantic's prefix"),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
def test_parameters_with_like_names_are_not_mixed_up(names: tuple[str, ...], order: int) -> None:
    given_values = {name: index for index, name in enumerate(names[::order])}
    module = module_of([Parameter(name, INT, Required()) for name in given_values])
    assert received(module, given_values) == given_values


@pytest.mark.parametrize("kind", [INT, JSON], ids=["int", "json"])
def test_every_member_of_the_base_class_can_be_a_parameter(kind: ParameterKind) -> None:
    usable = {same_to_click(name): name for name in [*MEMBERS, *AWKWARD] if name != "self"}
    names = [name for alias, name in usable.items() if alias.isidentifier()]
    given_values = {name: index for index, name in enumerate(names)}
    module = module_of([Parameter(name, kind, Required()) for name in names])
    assert received(module, given_values) == given_values


def test_self_can_be_a_parameter() -> None:
    parameters = [
        Parameter("self", STR, DefaultValue("me")),
        Parameter("my-rate", INT, Required()),
        Parameter("maybe", INT, LeftToMetaflow()),
    ]
    assert needs_raw_config(flow_of({"start": End()}, parameters=tuple(parameters)))
    assert received(module_of(parameters), {"my-rate": 3}) == {"self": "me", "my-rate": 3}


def fields(*parameters: Parameter) -> str:
    """The body of the config class."""
    text = emitted(flow_of({"start": End()}, parameters=parameters))
    start = text.index("class MyFlowConfig(Config):")
    return text[start : text.index("\n\n\n", start)].split("\n\n", 1)[1]


@pytest.mark.parametrize(
    ("parameter", "field"),
    [
        pytest.param(
            Parameter("rate", ParameterKind.FLOAT, DefaultValue(1.0)),
            "rate: float = 1.0",
            id="default",
        ),
        pytest.param(Parameter("n", INT, Required()), "n: int = Field()", id="required"),
        pytest.param(
            Parameter("n", INT, LeftToMetaflow()), "n: Optional[int] = None", id="left out"
        ),
        pytest.param(Parameter("n", JSON, LeftToMetaflow()), "n: Any = None", id="JSON left out"),
        pytest.param(
            Parameter("n", INT, DefaultValue(1), "How many"),
            'n: int = Field(1, description="How many")',
            id="description",
        ),
        pytest.param(
            Parameter("my-n", INT, DefaultValue(1)),
            'my_n: int = Field(1, alias="my-n")',
            id="dash",
        ),
        pytest.param(
            Parameter("class", STR, DefaultValue("a")),
            'class_: str = Field("a", alias="class")',
            id="keyword",
        ),
        pytest.param(
            Parameter("model_size", INT, DefaultValue(1)),
            'parameter_model_size: int = Field(1, alias="model_size")',
            id="pydantic's prefix",
        ),
        pytest.param(
            Parameter("__x", INT, DefaultValue(1)),
            'x: int = Field(1, alias="__x")',
            id="underscores",
        ),
        pytest.param(
            Parameter("größe", INT, DefaultValue(1)),
            'parameter_gr__e: int = Field(1, alias="größe")',
            id="not ASCII",
        ),
        pytest.param(
            Parameter("table", ParameterKind.FILE, DefaultPath("/project/data/a.csv")),
            'table: str = os.path.join(HERE, "data", "a.csv")',
            id="file in the project",
        ),
        pytest.param(
            Parameter("table", ParameterKind.FILE, DefaultPath("/elsewhere/a.csv")),
            'table: str = "/elsewhere/a.csv"',
            id="file elsewhere",
        ),
        pytest.param(
            Parameter("data", JSON, DefaultValue({"a": [1, None]})),
            'data: Any = {"a": [1, None]}',
            id="JSON",
        ),
    ],
)
def test_field(parameter: Parameter, field: str) -> None:
    assert fields(parameter) == f"    {field}"


def test_fields_whose_names_would_be_the_same() -> None:
    assert fields(
        *(Parameter(name, INT, DefaultValue(1)) for name in ("_x", "x", "json", "json_"))
    ).splitlines() == [
        '    x_: int = Field(1, alias="_x")',
        "    x: int = 1",
        '    json__: int = Field(1, alias="json")',
        "    json_: int = 1",
    ]


def test_default_that_changes_does_not_change_the_next_run() -> None:
    module = module_of([Parameter("data", JSON, DefaultValue({"a": []}))])
    received(module, {})["data"]["a"].append(1)
    assert received(module, {}) == {"data": {"a": []}}
