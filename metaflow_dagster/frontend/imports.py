"""The modules that a flow's file imports at its top level, as each of its tasks does."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_CHANGES = frozenset(
    {"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}
)
_CHANGES_ENVIRONMENT = frozenset({"load_dotenv", "putenv", "unsetenv"})
_OF_METAFLOW = frozenset({"metaflow", "metaflow_extensions", "__main__"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def read_imports(file: str) -> Iterator[str]:
    """The modules of others that a flow's file has imported here, in order and each once.

    Those of the standard library and of Metaflow are there anyway, and those in the directory of
    the flow are the user's own.
    """
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):  # as for a flow that was made in a notebook
        return
    directory = Path(file).resolve().parent
    for name in imported_names(tree, sys.modules):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | _OF_METAFLOW and not _is_within(top, directory):
            yield name


def imported_names(tree: ast.Module, loaded: Mapping[str, Any]) -> Iterator[str]:
    """The modules that a file imports at its top level, as far as they are loaded.

    Where the file first changes what later imports find, the environment or `sys.path`, is the end
    of it: they could not come before that.
    """
    names: dict[str, None] = {}
    for statement in _statements(tree.body):
        if _prepares_imports(statement):
            break
        names.update(dict.fromkeys(_imported_modules(statement, loaded)))
    return (name for name in names if name in loaded)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, with those inside of `if`, `try` and `with` in place of these."""
    for statement in body:
        match statement:
            case ast.If(body=inner, orelse=other):
                yield ast.Expr(statement.test)
                yield from _statements([*inner, *other])
            case ast.With(body=inner, items=items):
                yield from (ast.Expr(item.context_expr) for item in items)
                yield from _statements(inner)
            case ast.Try(body=inner, handlers=handlers, orelse=other, finalbody=last):
                yield from _statements(inner)
                for handler in handlers:
                    yield from _statements(handler.body)
                yield from _statements([*other, *last])
            case _:
                yield statement


def _imported_modules(statement: ast.stmt, loaded: Mapping[str, Any]) -> Iterator[str]:
    """The modules that a statement imports."""
    match statement:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(module=str(module), names=aliases, level=0):
            inner = [f"{module}.{alias.name}" for alias in aliases]
            yield from [name for name in inner if _is_module(name, loaded)] or [module]


def _is_module(name: str, loaded: Mapping[str, Any]) -> bool:
    return isinstance(loaded.get(name), ModuleType)


def _prepares_imports(statement: ast.stmt) -> bool:
    """Whether a statement, other than a definition, changes what imports after it find."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(map(_is_change, ast.walk(statement)))


def _is_change(node: ast.AST) -> bool:
    match node:
        case ast.Subscript(value=changed, ctx=ast.Store() | ast.Del()):
            return _is_looked_at(changed)
        case ast.Attribute(attr="path" | "environ", ctx=ast.Store()):
            return _is_looked_at(node)
        case ast.Call(func=ast.Attribute(value=changed, attr=method)) if _is_looked_at(changed):
            return method in _CHANGES
        case ast.Call(func=ast.Attribute(attr=function) | ast.Name(id=function)):
            return function in _CHANGES_ENVIRONMENT
        case _:
            return False


def _is_looked_at(node: ast.AST) -> bool:
    """Whether this is the environment, or where Python looks for modules."""
    match node:
        case ast.Attribute(attr="environ") | ast.Name(id="environ"):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="path" | "meta_path" | "path_hooks"):
            return True
        case _:
            return False


def _is_within(module: str, directory: Path) -> bool:
    """Whether a module is in a directory, and was not installed there, as in an environment."""
    loaded = sys.modules.get(module)
    places = [getattr(loaded, "__file__", None), *getattr(loaded, "__path__", ())]
    paths = [Path(place).resolve() for place in places if place]
    return any(
        path.is_relative_to(directory) and _INSTALLED.isdisjoint(path.relative_to(directory).parts)
        for path in paths
    )
