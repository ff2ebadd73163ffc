from __future__ import annotations

import json
import os
from typing import Any

import pytest
from dagster import Config
from hypothesis import given
from hypothesis import strategies as st
from metaflow._vendor import click
from pydantic import Field

from metaflow_dagster.runtime.parameters import (
    given_parameters,
    given_values,
    parameter_text,
    parameter_variable,
)

names = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.from_regex(r"[A-Za-z\xdf\u0131\u017f_-]{1,6}", fullmatch=True),
)


@given(names.filter(lambda name: name.replace("-", "_").lower().isidentifier()))
def test_parameter_variable_is_the_one_click_reads(name: str) -> None:
    option = click.Option(("--" + name,))
    command = click.Command("init", params=[option], callback=lambda **given: given)
    os.environ[parameter_variable(name)] = "there"
    try:
        # Metaflow's top-level command has the prefix METAFLOW, `init` gets METAFLOW_INIT.
        top = click.Context(click.Group("flow"), auto_envvar_prefix="METAFLOW")
        with command.make_context("init", [], parent=top) as made:
            assert made.params == {option.name: "there"}
    finally:
        del os.environ[parameter_variable(name)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("a b", "a b", id="text as it is"),
        pytest.param("5", "5", id="digits"),
        pytest.param(5, "5", id="int"),
        pytest.param(1.0, "1.0", id="float"),
        pytest.param(1e-9, "1e-09", id="small float"),
        pytest.param(True, "true", id="bool"),
        pytest.param([1, "a"], '[1, "a"]', id="list"),
        pytest.param({"a": None}, '{"a": null}', id="dict"),
        pytest.param("größe", "größe", id="not ASCII"),
    ],
)
def test_parameter_text(value: object, text: str) -> None:
    assert parameter_text(value) == text


@given(st.floats(allow_nan=False) | st.integers() | st.booleans())
def test_parameter_text_brings_the_value_back(value: float | int | bool) -> None:
    kind = click.BOOL if isinstance(value, bool) else click.types.convert_type(type(value))
    back = kind.convert(parameter_text(value), None, None)
    assert (type(back), back) == (type(value), value)


class Given(Config):
    required: str
    default: int = 1
    left: int | None = None
    renamed: str | None = Field(None, alias="re-named")
    nothing: Any = Field()


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        pytest.param(
            {"required": "a", "nothing": 0},
            {"required": "a", "default": 1, "nothing": 0},
            id="left out",
        ),
        pytest.param(
            {"required": "", "left": 0, "re-named": "x", "nothing": None},
            {"required": "", "default": 1, "left": 0, "re-named": "x", "nothing": None},
            id="falsy values are values",
        ),
    ],
)
def test_given_parameters(values: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert given_parameters(Given(**values)) == parameters
    assert given_values(Given, {"default": 1, **values}) == parameters


@given(st.dictionaries(st.text("ab"), st.text() | st.integers() | st.none()))
def test_json_parameters_survive_their_text(value: dict[str, Any]) -> None:
    assert json.loads(parameter_text(value)) == value
