from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
import pytest

import metaflow_dagster
from metaflow_dagster.emit.library import (
    RUNTIME_MODULES,
    Imported,
    Renamer,
    names_used,
    read_library,
    runtime_library,
)

RUNTIME_DIRECTORY = Path(metaflow_dagster.__file__).parent / "runtime"
RUNTIME = "\n".join((RUNTIME_DIRECTORY / f"{name}.py").read_text() for name in RUNTIME_MODULES)

SOURCE = '''
import os
import json, re
from typing import Any, IO
from a.b import c

ONE = 1
TWO: int = ONE + 1  # why

def leaf(x): return os.path.join(x, str(TWO))

class Kind:
    """Doc."""
    field: Any = None

def root(key=None):
    """Doc."""
    from metaflow import json
    return leaf(key=key).re + Kind.ONE

if ONE:
    pass
'''


def test_a_module_is_taken_apart() -> None:
    library = read_library([SOURCE])
    assert list(library.constants) == ["ONE", "TWO"]
    assert list(library.helpers) == ["leaf", "Kind", "root"]
    assert library.imports == {
        "os": Imported("os", None),
        "json": Imported("json", None),
        "re": Imported("re", None),
        "Any": Imported("typing", "Any"),
        "IO": Imported("typing", "IO"),
        "c": Imported("a.b", "c"),
    }


@pytest.mark.parametrize(
    ("names", "closure"),
    [
        pytest.param([], set(), id="nothing"),
        pytest.param(["unknown"], {"unknown"}, id="unknown"),
        pytest.param(["os"], {"os"}, id="import"),
        pytest.param(["TWO"], {"TWO", "ONE"}, id="constant"),
        pytest.param(["Kind"], {"Kind", "Any"}, id="class"),
        pytest.param(["root"], {"root", "leaf", "os", "TWO", "ONE", "Kind", "Any"}, id="function"),
    ],
)
def test_closure(names: list[str], closure: set[str]) -> None:
    assert read_library([SOURCE]).closure(names) == closure


@pytest.mark.parametrize(
    ("code", "names"),
    [
        pytest.param("a.b.c", ["a"], id="attribute"),
        pytest.param("f(key=value)", ["f", "value"], id="keyword"),
        pytest.param('f"{a.b!r:>{width}}"', ["a", "width"], id="f-string"),
        pytest.param("[x for x in xs]", ["x", "xs"], id="comprehension"),
    ],
)
def test_names_used(code: str, names: list[str]) -> None:
    assert list(names_used(ast.parse(code).body[0])) == names


@pytest.mark.parametrize(
    ("code", "renamed"),
    [
        pytest.param("x.json", "x.json", id="attribute"),
        pytest.param("f(json=1)", "f(json=1)", id="keyword"),
        pytest.param("from json import json", "from json import json", id="import"),
        pytest.param('"json"  # json', '"json"  # json', id="text"),
        pytest.param("json.dumps(json=json)", "json_.dumps(json=json_)", id="reference"),
        pytest.param('f"{json}"', 'f"{json_}"', id="f-string"),
        pytest.param("def json(): pass", "def json_(): pass", id="definition"),
        pytest.param("@json\ndef f(): pass", "@json_\ndef f(): pass", id="decorator"),
        pytest.param("def f(a: json = json): pass", "def f(a: json_ = json_): pass", id="types"),
    ],
)
def test_renamer(code: str, renamed: str) -> None:
    assert cst.parse_module(code).visit(Renamer({"json": "json_"})).code == renamed


def top_level_names() -> set[str]:
    library = runtime_library()
    return {*library.constants, *library.helpers, *library.imports}


def inner_names(tree: ast.Module) -> Iterator[str]:
    """Names that are bound below the top level: parameters, variables, fields, methods."""
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            for node in ast.walk(statement):
                match node:
                    case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                        yield name
                    case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                        if node is not statement:
                            yield name
                    case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                        yield from (one.asname or one.name for one in aliases)


def test_nothing_in_the_runtime_hides_a_name_of_its_top_level() -> None:
    # The renamer goes by the name alone, so a local `json` would be renamed with the module.
    assert set(inner_names(ast.parse(RUNTIME))) & top_level_names() == set()


def test_no_name_in_the_runtime_is_one_that_a_renaming_makes() -> None:
    names = {node.id for node in ast.walk(ast.parse(RUNTIME)) if isinstance(node, ast.Name)}
    of_modules = {"__file__", "__name__", "__package__"}
    assert {name for name in names | top_level_names() if name.endswith("_")} == of_modules


def test_nothing_in_the_runtime_is_called_like_a_builtin() -> None:
    assert top_level_names() & set(dir(builtins)) == set()


def test_the_whole_runtime_is_in_the_library() -> None:
    left_out = [
        node
        for node in ast.parse(RUNTIME).body
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom))
        and not isinstance(node, (ast.Assign, ast.AnnAssign))
    ]
    docstrings = [ast.Expr] * len(RUNTIME_MODULES)
    assert [type(node) for node in left_out] == docstrings, "only docstrings are left out"


def test_every_runtime_module_has_its_place() -> None:
    files = {path.stem for path in RUNTIME_DIRECTORY.glob("*.py")}
    assert sorted(RUNTIME_MODULES) == sorted(files - {"__init__"})


def test_what_the_runtime_modules_import_of_each_other_is_no_import() -> None:
    library = read_library(
        ["A = 1\n", "from json import dumps\nfrom metaflow_dagster.runtime.one import A\nB = A\n"]
    )
    assert list(library.imports) == ["dumps"]
    assert library.closure(["B"]) == {"A", "B"}


def test_the_runtime_imports_nothing_under_another_name() -> None:
    aliases = [one for node in ast.walk(ast.parse(RUNTIME)) for one in getattr(node, "names", [])]
    assert [one for one in aliases if getattr(one, "asname", None)] == []
