from __future__ import annotations

import ast
import math
from typing import Any

import libcst as cst
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaflow_dagster.emit import build
from metaflow_dagster.emit.build import docstring, literal, quoted

texts = st.text(st.characters(), max_size=200)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**3000, 10**3001),
    st.floats(),
    texts,
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(texts, inner, max_size=5),
    ),
    max_leaves=20,
)


def code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        nan = math.isnan(one) and math.isnan(other)
        return nan or (one == other and math.copysign(1, one) == math.copysign(1, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return one == other


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("it's", '"it\'s"', id="single quote"),
        pytest.param('"a"', r'"\"a\""', id="double quotes"),
        pytest.param("a\\", r'"a\\"', id="backslash at the end"),
        pytest.param("a\nb\tc\r", r'"a\nb\tc\r"', id="line ends and tabs"),
        pytest.param("\0\x1b\x7f", r'"\x00\x1b\x7f"', id="control characters"),
        pytest.param("Größe 数 🎈", '"Größe 数 🎈"', id="printable"),
        pytest.param("\u2028\u202e\ufeff", r'"\u2028\u202e\ufeff"', id="invisible"),
        pytest.param("\ud800", r'"\ud800"', id="lone surrogate"),
        pytest.param("{x} %s", '"{x} %s"', id="no template"),
        pytest.param(-0.0, "-0.0", id="negative zero"),
        pytest.param(1e16, "1e+16", id="exponent"),
        pytest.param(float("nan"), 'float("nan")', id="NaN"),
        pytest.param(float("-inf"), 'float("-inf")', id="infinity"),
        pytest.param(-1, "-1", id="negative"),
        pytest.param(True, "True", id="a bool is no int"),
        pytest.param((1,), "(1,)", id="tuple of one"),
        pytest.param((), "()", id="empty tuple"),
        pytest.param({"a": [None]}, '{"a": [None]}', id="nested"),
    ],
)
def test_literal(value: Any, text: str) -> None:
    assert code(literal(value)) == text


@given(values)
@example(-0.0)
@example({"": [(), {}, [float("nan")]]})
def test_literal_evaluates_to_the_same_value(value: Any) -> None:
    text = code(literal(value))
    assert "\n" not in text
    assert same(eval(text), value)


@given(texts)
def test_quoted_is_printable(text: str) -> None:
    assert quoted(text).isprintable()
    assert ast.literal_eval(quoted(text)) == text


@pytest.mark.parametrize("text", ["plain", 'ends in "', "ends in \\", '"""', "é", ""])
def test_docstring(text: str) -> None:
    (statement,) = ast.parse(code(docstring(text))).body
    assert isinstance(statement, ast.Expr)
    assert ast.literal_eval(statement.value) == text


@pytest.mark.parametrize(
    ("node", "text"),
    [
        pytest.param(build.call(build.name("f")), "f()", id="no argument"),
        pytest.param(
            build.call(build.name("f"), literal(1), keywords={"a": literal(2), "left_out": None}),
            "f(1, a=2)",
            id="keywords",
        ),
        pytest.param(build.attribute(build.name("a"), "b", "c"), "a.b.c", id="attributes"),
        pytest.param(build.names_tuple(["a"]), "a", id="one name"),
        pytest.param(build.names_tuple(["a", "b"]), "a, b", id="names"),
        pytest.param(
            build.subscript(build.name("dict"), build.name("str"), build.name("int")),
            "dict[str, int]",
            id="subscript",
        ),
        pytest.param(build.add(literal("a"), build.name("b")), '"a" + b', id="sum"),
        pytest.param(
            build.annotated("a", build.name("int"), None), "a: int\n", id="annotation alone"
        ),
        pytest.param(
            build.annotated("a", build.name("int"), literal(1)), "a: int = 1\n", id="annotation"
        ),
        pytest.param(
            build.import_from("a.b", [("c", "c"), ("d", "d_")]),
            "from a.b import c, d as d_\n",
            id="from import",
        ),
        pytest.param(build.import_as("os", "os"), "import os\n", id="import"),
        pytest.param(build.import_as("os", "os_"), "import os as os_\n", id="import as"),
        pytest.param(
            build.function(
                "f",
                [("a", build.name("int")), ("b", None)],
                [build.returned(build.name("a"))],
                decorators=[build.name("op")],
                returns=build.name("int"),
            ),
            "@op\ndef f(a: int, b) -> int:\n    return a\n",
            id="function",
        ),
        pytest.param(
            build.class_("A", build.name("B"), [build.expression(literal("doc"))]),
            'class A(B):\n    "doc"\n',
            id="class",
        ),
        pytest.param(build.yielded_from(build.name("x")), "yield from x\n", id="yield from"),
        pytest.param(
            build.spaced(build.returned(build.name("x")), 2), "\n\nreturn x\n", id="spaced"
        ),
    ],
)
def test_constructors(node: cst.CSTNode, text: str) -> None:
    assert code(node) == text
