"""Definitions files of releases that wrote no record: what their constants say."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from metaflow_dagster.generated import Record


def earlier_record(text: str, directory: Path) -> Record:
    """The record of such a file in a directory; `ValueError`, `KeyError` if it is none."""
    constants = dict(_constants(ast.parse(text)))
    flow, job, flow_file, arguments = (
        _value(constants[name], str(directory))
        for name in ("FLOW_NAME", "JOB_NAME", "FLOW_FILE", "METAFLOW_TOP_ARGS")
    )
    given = [argument.removeprefix("--").partition("=") for argument in arguments.split("\0")]
    options = {name: value for name, _, value in given}
    root = options.get("datastore-root")
    return Record(
        flow, job, flow_file, options.get("metadata", "local"), options["datastore"], root
    )


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value


def _value(expression: ast.expr, directory: str) -> str:
    """A text, or texts with NUL between them, in the forms in which a compiled file has them."""
    match expression:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id="HERE"):
            return directory
        case ast.BinOp(left=left, right=right):
            return _value(left, directory) + _value(right, directory)
        case ast.Call(func=ast.Attribute(attr="join"), args=[_, *_] as parts):
            return os.path.normpath(os.path.join(*(_value(part, directory) for part in parts)))
        case ast.Call(func=ast.Attribute(attr="normpath"), args=[path]):
            return _value(path, directory)
        case ast.List(elts=parts):
            return "\0".join(_value(part, directory) for part in parts)
        case _:
            raise ValueError(f"a compiled file has no {ast.unparse(expression)}")
