"""Small typed constructors for syntax nodes, all on one line; `layout` breaks what is too long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import libcst as cst
from typing_extensions import assert_never

from metaflow_dagster.ir import flow as ir

Expression: TypeAlias = cst.BaseExpression
Statement: TypeAlias = cst.SimpleStatementLine | cst.BaseCompoundStatement


def name(identifier: str) -> cst.Name:
    """A reference to an identifier."""
    return cst.Name(identifier)


def attribute(value: Expression, *attributes: str) -> Expression:
    """`value.a.b`"""
    for attribute_name in attributes:
        value = cst.Attribute(value, cst.Name(attribute_name))
    return value


def literal(value: ir.Literal) -> Expression:
    """The one door through which a value reaches generated source.

    Evaluating the result gives an equal value of the same type, NaN and -0.0 included.
    """
    match value:
        case str():
            return cst.SimpleString(quoted(value))
        case None | bool():
            return cst.Name(repr(value))
        case int():
            return _signed(value < 0, cst.Integer(str(abs(value))))
        case float():
            return _float(value)
        case list():
            return list_of(map(literal, value))
        case tuple():
            return tuple_of(map(literal, value))
        case dict():
            return dict_of((literal(key), literal(item)) for key, item in value.items())
        case _:
            assert_never(value)


def quoted(text: str) -> str:
    """A string literal in double quotes, with everything escaped that is not printable."""
    return '"' + "".join(map(_escaped, text)) + '"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _signed(negative: bool, number: Expression) -> Expression:
    return cst.UnaryOperation(cst.Minus(), number) if negative else number


def _float(value: float) -> Expression:
    if math.isfinite(value):
        return _signed(math.copysign(1, value) < 0, cst.Float(_float_digits(abs(value))))
    return call(name("float"), literal(str(value)))


def _float_digits(value: float) -> str:
    digits = repr(value)
    return digits if any(mark in digits for mark in ".e") else f"{digits}.0"


def call(
    function: Expression,
    *positional: Expression,
    keywords: Mapping[str, Expression | None] | None = None,
) -> cst.Call:
    """`function(a, b, key=c)`; keywords whose expression is None are left out."""
    arguments = [cst.Arg(value) for value in positional]
    for keyword, value in (keywords or {}).items():
        if value is not None:
            arguments.append(_keyword_argument(keyword, value))
    return cst.Call(function, arguments)


def _keyword_argument(keyword: str, value: Expression) -> cst.Arg:
    tight = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    return cst.Arg(value, keyword=cst.Name(keyword), equal=tight)


def list_of(items: Iterable[Expression]) -> cst.List:
    """`[a, b]`"""
    return cst.List([cst.Element(item) for item in items])


def tuple_of(items: Iterable[Expression]) -> cst.Tuple:
    """`(a, b)`"""
    return cst.Tuple([cst.Element(item) for item in items])


def names_tuple(identifiers: Sequence[str]) -> cst.Name | cst.Tuple:
    """`a`, or `a, b` without parentheses."""
    if len(identifiers) == 1:
        return name(identifiers[0])
    return cst.Tuple(
        [cst.Element(name(identifier)) for identifier in identifiers], lpar=[], rpar=[]
    )


def dict_of(pairs: Iterable[tuple[Expression, Expression]]) -> cst.Dict:
    """`{a: b}`"""
    return cst.Dict([cst.DictElement(key, value) for key, value in pairs])


def set_of(items: Iterable[Expression]) -> cst.Set:
    """`{a, b}`, of one item at least"""
    return cst.Set([cst.Element(item) for item in items])


def text_dict(items: Mapping[str, Expression]) -> cst.Dict:
    """A dict with literal strings for keys."""
    return dict_of((literal(key), value) for key, value in items.items())


def subscript(value: Expression, *items: Expression) -> cst.Subscript:
    """`value[a, b]`"""
    return cst.Subscript(value, [cst.SubscriptElement(cst.Index(item)) for item in items])


def add(left: Expression, right: Expression) -> cst.BinaryOperation:
    """`left + right`"""
    return cst.BinaryOperation(left, cst.Add(), right)


def line(statement: cst.BaseSmallStatement) -> cst.SimpleStatementLine:
    """A small statement on a line of its own."""
    return cst.SimpleStatementLine([statement])


def assign(target: cst.BaseAssignTargetExpression, value: Expression) -> cst.SimpleStatementLine:
    """`target = value`"""
    return line(cst.Assign([cst.AssignTarget(target)], value))


def annotated(
    target: str, annotation: Expression, value: Expression | None
) -> cst.SimpleStatementLine:
    """`target: annotation = value`"""
    return line(cst.AnnAssign(name(target), cst.Annotation(annotation), value))


def expression(value: Expression) -> cst.SimpleStatementLine:
    """An expression as a statement."""
    return line(cst.Expr(value))


def returned(value: Expression) -> cst.SimpleStatementLine:
    """`return value`"""
    return line(cst.Return(value))


def yielded(value: Expression) -> cst.SimpleStatementLine:
    """`yield value`"""
    return line(cst.Expr(cst.Yield(value)))


def yielded_from(value: Expression) -> cst.SimpleStatementLine:
    """`yield from value`"""
    return line(cst.Expr(cst.Yield(cst.From(value))))


def docstring(text: str) -> cst.SimpleStatementLine:
    """A docstring of one line, which `layout` leaves as it is."""
    return line(cst.Expr(cst.SimpleString(f'""{quoted(text)}""')))


def function(
    identifier: str,
    parameters: Sequence[tuple[str, Expression | None]],
    body: Sequence[Statement],
    decorators: Sequence[Expression] = (),
    returns: Expression | None = None,
) -> cst.FunctionDef:
    """A function; parameters are pairs of name and annotation."""
    return cst.FunctionDef(
        name(identifier),
        cst.Parameters([_parameter(parameter, annotation) for parameter, annotation in parameters]),
        cst.IndentedBlock(body),
        decorators=[cst.Decorator(decorator) for decorator in decorators],
        returns=cst.Annotation(returns) if returns else None,
    )


def _parameter(identifier: str, annotation: Expression | None) -> cst.Param:
    return cst.Param(name(identifier), cst.Annotation(annotation) if annotation else None)


def class_(identifier: str, base: Expression, body: Sequence[Statement]) -> cst.ClassDef:
    """A class with one base."""
    return cst.ClassDef(name(identifier), cst.IndentedBlock(body), bases=[cst.Arg(base)])


def import_from(module: str, imported: Sequence[tuple[str, str]]) -> cst.SimpleStatementLine:
    """`from module import a, b as c`; pairs of the name there and the name here."""
    dotted = cst.parse_expression(module)
    assert isinstance(dotted, (cst.Name, cst.Attribute))
    return line(cst.ImportFrom(dotted, [_alias(there, here) for there, here in imported]))


def import_as(module: str, here: str) -> cst.SimpleStatementLine:
    """`import module as here`"""
    return line(cst.Import([_alias(module, here)]))


def _alias(there: str, here: str) -> cst.ImportAlias:
    return cst.ImportAlias(name(there), None if there == here else cst.AsName(name(here)))


def spaced(statement: Statement, blank_lines: int) -> Statement:
    """The statement after that many blank lines, and the comments that stand above it."""
    comments = [line for line in statement.leading_lines if line.comment]
    blank = [cst.EmptyLine(indent=False)] * blank_lines
    return statement.with_changes(leading_lines=[*blank, *comments])


def commented(statement: Statement, comment: str) -> Statement:
    """The statement with a comment above it."""
    line = cst.EmptyLine(indent=False, comment=cst.Comment(comment))
    return statement.with_changes(leading_lines=[line])
