"""Breaks generated statements that are too long, as a person would: one item a line.

    op_start = call(name="start", out={"left": Out(str), "right": Out(str)})

becomes

    op_start = call(
        name="start",
        out={"left": Out(str), "right": Out(str)},
    )

A string that does not fit is split at line ends and spaces into a parenthesised concatenation,
unless it is very long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import libcst as cst

from metaflow_dagster.emit.build import Expression, Statement, quoted

WIDTH = 88
INDENT = 4
MOST_PIECES = 100  # of a string: libcst recurses into each, and nobody reads a longer one here
SHORTEST_PIECE = 24  # so that deep nesting does not split a string into letters

_EMPTY = cst.Module([])
_Node = TypeVar("_Node", cst.Arg, cst.Element, cst.DictElement, cst.Param, cst.ImportAlias)


def laid_out(statement: Statement, level: int = 0) -> Statement:
    """The statement with everything broken that does not fit `level` indentations deep."""
    match statement:
        case cst.SimpleStatementLine(body=[small]):
            return statement.with_changes(body=[_small(small, level)])
        case cst.FunctionDef() | cst.ClassDef():
            return _definition(statement, level)
        case _:
            return statement


def _code(node: cst.CSTNode) -> str:
    return _EMPTY.code_for_node(node)


def _fits(node: cst.CSTNode, level: int, extra: int = 0) -> bool:
    text = _code(node).strip()
    return "\n" not in text and INDENT * level + len(text) + extra <= WIDTH


def _small(statement: cst.BaseSmallStatement, level: int) -> cst.BaseSmallStatement:
    if _fits(statement, level):
        return statement
    match statement:
        case cst.Assign(value=value) | cst.AnnAssign(value=cst.BaseExpression() as value):
            return statement.with_changes(value=_broken(value, level, 0))
        case cst.Expr(value=cst.Yield(value=cst.From() as source)):
            broken = source.with_changes(item=_broken(source.item, level, 0))
            return statement.with_deep_changes(statement.value, value=broken)
        case cst.Expr(value=cst.SimpleString()):
            return statement
        case cst.Expr(value=value) | cst.Return(value=cst.BaseExpression() as value):
            return statement.with_changes(value=_broken(value, level, 0))
        case cst.ImportFrom(names=[*names]):
            return statement.with_changes(
                names=_one_a_line(names, 0),
                lpar=cst.LeftParen(_newline(1)),
                rpar=cst.RightParen(),
            )
        case _:
            return statement


def _definition(node: cst.FunctionDef | cst.ClassDef, level: int) -> Statement:
    changes: dict[str, object] = {
        "body": node.body.with_changes(
            body=[laid_out(statement, level + 1) for statement in node.body.body]  # type: ignore[arg-type]
        ),
        "decorators": [_decorator(decorator, level) for decorator in node.decorators],
    }
    if isinstance(node, cst.FunctionDef) and node.params.params and not _fits(_header(node), level):
        changes["whitespace_before_params"] = _newline(1)
        changes["params"] = node.params.with_changes(params=_one_a_line(node.params.params, 0))
    return node.with_changes(**changes)


def _header(node: cst.FunctionDef) -> cst.FunctionDef:
    """The function up to its colon."""
    return node.with_changes(body=cst.SimpleStatementSuite([]), decorators=[], leading_lines=[])


def _decorator(node: cst.Decorator, level: int) -> cst.Decorator:
    if _fits(node.decorator, level, extra=1):
        return node
    return node.with_changes(decorator=_broken(node.decorator, level, 0))


def _newline(depth: int) -> cst.ParenthesizedWhitespace:
    """A line break inside brackets, `depth` indentations deeper than the statement."""
    return cst.ParenthesizedWhitespace(
        indent=True, last_line=cst.SimpleWhitespace(" " * (INDENT * depth))
    )


def _one_a_line(items: Sequence[_Node], depth: int) -> list[_Node]:
    """The items with a comma and a line break after each; the bracket closes at `depth`."""
    last = len(items) - 1
    return [
        item.with_changes(
            comma=cst.Comma(whitespace_after=_newline(depth if index == last else depth + 1))
        )
        for index, item in enumerate(items)
    ]


def _broken(node: Expression, level: int, depth: int) -> Expression:
    """An expression that does not fit, with its outermost brackets one item a line."""
    match node:
        case cst.Call(args=[_, *_]):
            return node.with_changes(
                whitespace_before_args=_newline(depth + 1),
                args=_one_a_line(
                    [_item(argument, level, depth + 1) for argument in node.args], depth
                ),
            )
        case cst.List(elements=[_, *_]) | cst.Dict(elements=[_, *_]):
            items = [_item(element, level, depth + 1) for element in node.elements]  # type: ignore[type-var]
            opening = {
                cst.List: ("lbracket", cst.LeftSquareBracket),
                cst.Dict: ("lbrace", cst.LeftCurlyBrace),
            }
            field, bracket = opening[type(node)]
            return node.with_changes(
                **{field: bracket(_newline(depth + 1))}, elements=_one_a_line(items, depth)
            )
        case cst.BinaryOperation(right=right):
            return node.with_changes(right=_broken(right, level, depth))
        case cst.SimpleString():
            return _split_string(node, level, depth)
        case _:
            return node


def _item(node: _Node, level: int, depth: int) -> _Node:
    """One item of a bracket, broken itself if it does not fit on its line."""
    if isinstance(node, (cst.Param, cst.ImportAlias)) or _fits(node, level + depth, extra=1):
        return node
    return node.with_changes(value=_broken(node.value, level, depth))


def _split_string(node: cst.SimpleString, level: int, depth: int) -> Expression:
    room = max(WIDTH - INDENT * (level + depth + 1), SHORTEST_PIECE)
    text = _pieces(str(node.evaluated_value), room)
    pieces = [cst.SimpleString(quoted(line)) for line in islice(text, MOST_PIECES + 1)]
    if not 1 <= len(pieces) <= MOST_PIECES or (len(pieces) == 1 and len(node.value) > room):
        return node
    joined: cst.SimpleString | cst.ConcatenatedString = pieces[-1]
    for piece in reversed(pieces[:-1]):
        joined = cst.ConcatenatedString(piece, joined, whitespace_between=_newline(depth + 1))
    return joined.with_changes(
        lpar=[cst.LeftParen(_newline(depth + 1))], rpar=[cst.RightParen(_newline(depth))]
    )


def _pieces(text: str, room: int) -> Iterator[str]:
    """The text in pieces whose literals fit the room, cut at line ends and after words."""
    piece = ""
    for word in re.findall(r"\S*[^\S\n]*\n|\S+[^\S\n]*|[^\S\n]+", text):
        for part in _parts(word, room):
            if piece and len(quoted(piece + part)) > room:
                yield piece
                piece = ""
            piece += part
        if piece.endswith("\n"):
            yield piece
            piece = ""
    if piece:
        yield piece


def _parts(word: str, room: int) -> Iterator[str]:
    """A word in parts whose literals fit the room."""
    longest = max(room // 10, 1) if len(quoted(word)) > room else len(word)
    for start in range(0, len(word), longest):
        yield word[start : start + longest]
