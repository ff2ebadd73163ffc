from __future__ import annotations

import json
from pathlib import Path

import pytest
from metaflow.exception import MetaflowException

from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.ir.flow import (
    Default,
    DefaultPath,
    DefaultValue,
    LeftToMetaflow,
    Parameter,
    ParameterKind,
    Required,
)
from tests.unit.flows import flow_class, flow_source, read, refused

STR, INT, FLOAT = ParameterKind.STR, ParameterKind.INT, ParameterKind.FLOAT
BOOL, JSON = ParameterKind.BOOL, ParameterKind.JSON


def parameters(directory: Path, body: str) -> tuple[Parameter, ...]:
    return read(flow_class(directory, flow_source(body=body))).parameters


@pytest.mark.parametrize(
    ("arguments", "kind", "default"),
    [
        pytest.param("", STR, LeftToMetaflow(), id="nothing said"),
        pytest.param("required=True", STR, Required(), id="required"),
        pytest.param("type=int, required=True", INT, Required(), id="required int"),
        pytest.param("type=int", INT, LeftToMetaflow(), id="int without default"),
        pytest.param("default='a'", STR, DefaultValue("a"), id="text"),
        pytest.param("default=''", STR, DefaultValue(""), id="empty text"),
        pytest.param("default='ü\\n\\ud800'", STR, LeftToMetaflow(), id="no text for the system"),
        pytest.param("default='a\\0'", STR, LeftToMetaflow(), id="NUL"),
        pytest.param("default=3", INT, DefaultValue(3), id="int"),
        pytest.param("default=0", INT, DefaultValue(0), id="zero"),
        pytest.param("default=0.5", FLOAT, DefaultValue(0.5), id="float"),
        pytest.param("default=1, type=float", FLOAT, DefaultValue(1.0), id="int for a float"),
        pytest.param("default=True", BOOL, DefaultValue(True), id="bool"),
        pytest.param("default=False", BOOL, DefaultValue(False), id="false"),
        pytest.param("default=3, type=str", STR, LeftToMetaflow(), id="int for a text"),
        pytest.param("default='3', type=int", INT, LeftToMetaflow(), id="text for an int"),
        pytest.param("default=True, type=int", INT, LeftToMetaflow(), id="bool for an int"),
        pytest.param("default=1, type=bool", BOOL, LeftToMetaflow(), id="int for a bool"),
        pytest.param("default=1.0, type=int", INT, LeftToMetaflow(), id="float for an int"),
        pytest.param(
            "default='[1, null]', type=JSONType", JSON, DefaultValue([1, None]), id="JSON text"
        ),
        pytest.param("default={'a': [1]}", STR, LeftToMetaflow(), id="dict"),
        pytest.param("default=[], type=JSONType", JSON, DefaultValue([]), id="empty list"),
        pytest.param("default={1: 2}, type=JSONType", JSON, LeftToMetaflow(), id="int keys"),
        pytest.param("default=[(1, 2)], type=JSONType", JSON, LeftToMetaflow(), id="tuple"),
        pytest.param("default=[float('nan')], type=JSONType", JSON, LeftToMetaflow(), id="NaN"),
        pytest.param("default='NaN', type=JSONType", JSON, LeftToMetaflow(), id="NaN as text"),
        pytest.param("default='[', type=JSONType", JSON, LeftToMetaflow(), id="no JSON"),
        pytest.param("type=JSONType", JSON, LeftToMetaflow(), id="JSON without default"),
        pytest.param("type=click.Choice(['a', 'b'])", STR, LeftToMetaflow(), id="choice"),
        pytest.param(
            "type=click.Choice(['a', 'b']), default='a'", STR, LeftToMetaflow(), id="choice, a"
        ),
        pytest.param("type=click.IntRange(0, 5), default=3", STR, LeftToMetaflow(), id="range"),
        pytest.param("default=lambda _: 'x'", STR, DefaultValue("x"), id="function"),
        pytest.param("default=lambda _: '5', type=str", STR, DefaultValue("5"), id="of a text"),
        pytest.param("default=lambda _: 5, type=int", INT, DefaultValue(5), id="of an int"),
        pytest.param("default=lambda _: .5, type=float", FLOAT, DefaultValue(0.5), id="of a float"),
        pytest.param("default=lambda _: True, type=bool", BOOL, DefaultValue(True), id="True"),
        pytest.param("default=lambda _: False, type=bool", BOOL, DefaultValue(False), id="False"),
        pytest.param("default=lambda _: [1], type=JSONType", JSON, DefaultValue([1]), id="of JSON"),
        pytest.param(
            "default=lambda _: '{\"a\": 1}', type=JSONType",
            JSON,
            DefaultValue({"a": 1}),
            id="of JSON text",
        ),
        pytest.param("default='a,b', separator=','", STR, DefaultValue("a,b"), id="separator"),
    ],
)
def test_parameter(arguments: str, kind: ParameterKind, default: Default, tmp_path: Path) -> None:
    (parameter,) = parameters(tmp_path, f"p = Parameter('my-p', {arguments})")
    assert parameter == Parameter("my-p", kind, default)
    if isinstance(default, DefaultValue) and isinstance(parameter.default, DefaultValue):
        assert repr(parameter.default.value) == repr(default.value)


def test_description(tmp_path: Path) -> None:
    (parameter,) = parameters(tmp_path, "p = Parameter('p', help='Say \"ü\"\\n')")
    assert parameter.description == 'Say "ü"\n'


def test_order_is_that_of_metaflow(tmp_path: Path) -> None:
    body = "b = Parameter('z')\na = Parameter('y')"
    flow = flow_class(tmp_path, flow_source(body=body))
    names = [parameter.name for _, parameter in flow._get_parameters()]  # type: ignore[attr-defined]
    assert [parameter.name for parameter in read(flow).parameters] == names


@pytest.mark.parametrize(
    ("path", "default"),
    [
        pytest.param("/data/a.csv", "/data/a.csv", id="absolute"),
        pytest.param("~/a.csv", "{home}/a.csv", id="home"),
        pytest.param("a.csv", "{here}/a.csv", id="relative to the working directory"),
    ],
)
def test_file(path: str, default: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    (parameter,) = parameters(tmp_path, f"p = IncludeFile('p', default={path!r})")
    expected = default.format(home="/home/somebody", here=tmp_path)
    assert parameter == Parameter("p", ParameterKind.FILE, DefaultPath(expected))


@pytest.mark.parametrize(
    ("arguments", "default"),
    [
        pytest.param("", LeftToMetaflow(), id="nothing said"),
        pytest.param("required=True", Required(), id="required"),
        pytest.param("default=lambda _: '/data/a'", DefaultPath("/data/a"), id="function"),
    ],
)
def test_file_default(arguments: str, default: Default, tmp_path: Path) -> None:
    (parameter,) = parameters(tmp_path, f"p = IncludeFile('p', {arguments})")
    assert parameter == Parameter("p", ParameterKind.FILE, default)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("a = Parameter('rate')\nb = Parameter('Rate')", id="case"),
        pytest.param("a = Parameter('my-rate')\nb = Parameter('my_rate')", id="dash"),
        pytest.param("a = Parameter('my-Rate')\nb = Parameter('MY_rate')", id="both"),
        pytest.param("a = Parameter('straße')\nb = Parameter('strasse')", id="same in capitals"),
    ],
)
def test_parameters_that_metaflow_mixes_up(body: str, tmp_path: Path) -> None:
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(body=body)))
    assert "one and the same" in str(diagnostic)


def test_config_is_no_parameter(tmp_path: Path) -> None:
    body = "settings = Config('settings', default_value='{}')\np = Parameter('p')"
    flow = read(flow_class(tmp_path, flow_source(body=body)))
    assert [parameter.name for parameter in flow.parameters] == ["p"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param("default=lambda _: 'x', type=int", id="wrong type"),
        pytest.param("default=lambda _: None, type=int", id="nothing"),
        pytest.param("default=lambda _: 1 / 0", id="fails"),
        pytest.param("default=lambda _: object()", id="no JSON"),
    ],
)
def test_function_that_gives_no_default(arguments: str, tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source(body=f"p = Parameter('speed', {arguments})"))
    with pytest.raises(CompileError, match="speed"):
        read(flow)


TYPES = ["str", "int", "float", "bool", "JSONType", "click.IntRange(0, 9)", "click.Choice(['x'])"]
GIVEN = [
    "None",
    "''",
    "'x'",
    "'5'",
    "'null'",
    "'[1]'",
    "5",
    "0.5",
    "True",
    "[1]",
    "{'a':1}",
    "(1,)",
    "{1:2}",
    "[(1,)]",
    "float('nan')",
    "b'x'",
    "print",
]


def natively_given(flow: type) -> str | None:
    """The text that Metaflow's command line is given by a default; None if it refuses to run."""
    ((_, parameter),) = flow._get_parameters()  # type: ignore[attr-defined]
    parameter.init()
    try:
        return str(parameter.kwargs["default"]())
    except MetaflowException:
        return None


def compiled_default(flow: type) -> Default | None:
    """The default in the file; None if the flow is refused."""
    try:
        (parameter,) = read(flow).parameters
    except CompileError:
        return None
    return parameter.default


@pytest.mark.parametrize("declared", TYPES)
def test_function_gives_what_metaflow_takes(declared: str, tmp_path: Path) -> None:
    for given in GIVEN:
        body = f"p = Parameter('speed', type={declared}, default=lambda _: {given})"
        flow = flow_class(tmp_path, flow_source(body=body))
        native, default = natively_given(flow), compiled_default(flow)
        match default:
            case None:
                assert native is None, given
            case DefaultValue(value) if native is None:
                # A run has such JSON in its configuration, as Metaflow's deployers take it.
                assert (declared, repr(value)) == ("JSONType", repr(eval(given)))
            case DefaultValue(value) if declared == "JSONType":
                assert value in (json.loads(str(native)), native)
            case DefaultValue(value):
                assert str(value) == native
            case _:
                assert default == LeftToMetaflow()
                assert native is not None, given
