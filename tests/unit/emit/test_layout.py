from __future__ import annotations

from textwrap import dedent
from typing import Any

import libcst as cst
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaflow_dagster.emit.build import assign, expression, literal, name
from metaflow_dagster.emit.layout import SHORTEST_PIECE, WIDTH, laid_out
from tests.unit.emit.test_build import same, values

# Values all of whose parts have a place to break.
breakable: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.integers(), st.text(max_size=300), st.text("ab \n", max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abc", max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def code(statement: cst.BaseStatement) -> str:
    return cst.Module([statement]).code


def laid(source: str) -> str:
    return cst.Module([laid_out(node) for node in cst.parse_module(dedent(source)).body]).code


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = 1\n", id="short"),
        pytest.param("x = " + "a" * 100 + "\n", id="no place to break"),
        pytest.param(f"x = '{'a' * 80}'\n", id="just as wide as it may be"),
        pytest.param("def f():\n    return 1\n", id="function"),
        pytest.param("import os\n", id="import"),
        pytest.param(f'"""{"word " * 30}"""\n', id="docstring"),
        pytest.param("while x:\n    pass\n", id="what we do not generate"),
    ],
)
def test_left_as_it_is(source: str) -> None:
    assert laid(source) == source


A, B, C = "a" * 30, "b" * 30, "c" * 30


@pytest.mark.parametrize(
    ("source", "result"),
    [
        pytest.param(
            f"x = f({A}, {B}, key={C})\n",
            f"x = f(\n    {A},\n    {B},\n    key={C},\n)\n",
            id="call",
        ),
        pytest.param(
            f"f({A}, {B}, {C})\n", f"f(\n    {A},\n    {B},\n    {C},\n)\n", id="expression"
        ),
        pytest.param(
            f"def g():\n    return f({A}, {B}, {C})\n",
            f"def g():\n    return f(\n        {A},\n        {B},\n        {C},\n    )\n",
            id="return",
        ),
        pytest.param(
            f"def g():\n    yield from f({A}, {B}, {C})\n",
            f"def g():\n    yield from f(\n        {A},\n        {B},\n        {C},\n    )\n",
            id="yield from",
        ),
        pytest.param(
            f"x: int = [{A}, {B}, {C}]\n",
            f"x: int = [\n    {A},\n    {B},\n    {C},\n]\n",
            id="list",
        ),
        pytest.param(
            f'x = {{"a": {A}, "b": {B}, "c": {C}}}\n',
            f'x = {{\n    "a": {A},\n    "b": {B},\n    "c": {C},\n}}\n',
            id="dict",
        ),
        pytest.param(
            f"x = f([{A}, {B}, {C}], y)\n",
            f"x = f(\n    [\n        {A},\n        {B},\n        {C},\n    ],\n    y,\n)\n",
            id="nested",
        ),
        pytest.param(
            f'x = "--root=" + f({A}, {B}, {C})\n',
            f'x = "--root=" + f(\n    {A},\n    {B},\n    {C},\n)\n',
            id="sum",
        ),
        pytest.param(
            f"from m import {A}, {B}, {C}\n",
            f"from m import (\n    {A},\n    {B},\n    {C},\n)\n",
            id="import",
        ),
        pytest.param(
            f"@f({A}, {B}, {C})\ndef g():\n    pass\n",
            f"@f(\n    {A},\n    {B},\n    {C},\n)\ndef g():\n    pass\n",
            id="decorator",
        ),
        pytest.param(
            f"def g({A}, {B}, {C}) -> int:\n    pass\n",
            f"def g(\n    {A},\n    {B},\n    {C},\n) -> int:\n    pass\n",
            id="parameters",
        ),
        pytest.param(
            f'x = "{"word " * 20}"\n',
            f'x = (\n    "{"word " * 16}"\n    "{"word " * 4}"\n)\n',
            id="string, after words",
        ),
        pytest.param(
            f'x = "{A}\\n{B}\\n{C}"\n',
            f'x = (\n    "{A}\\n"\n    "{B}\\n"\n    "{C}"\n)\n',
            id="string, at line ends",
        ),
        pytest.param(
            f'x = {{"{A * 9}": ""}}\n',
            f'x = {{\n    "{A * 9}": "",\n}}\n',
            id="empty string after a long key",
        ),
    ],
)
def test_broken(source: str, result: str) -> None:
    assert laid(source) == result


@given(values)
def test_value_stays_the_same(value: Any) -> None:
    namespace: dict[str, Any] = {}
    exec(code(laid_out(assign(name("x"), literal(value)))), namespace)
    assert same(namespace["x"], value)


def depth(line: str) -> int:
    return len(line) - len(line.lstrip())


@given(breakable)
def test_no_line_is_too_long(value: Any) -> None:
    for line in code(laid_out(assign(name("x"), literal(value)))).splitlines():
        shortest = depth(line) + SHORTEST_PIECE + len('"abcde": ,')
        assert len(line) <= max(WIDTH, shortest), line


@given(st.text(max_size=500))
def test_long_docstring_stays_in_one_piece(text: str) -> None:
    statement = expression(literal(text))
    assert code(laid_out(statement)) == code(statement)
