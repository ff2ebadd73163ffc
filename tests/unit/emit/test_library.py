from __future__ import annotations

import ast
import builtins
from collections import Counter
from pathlib import Path

import pytest

import metaflow_dagster
from metaflow_dagster.emit.library import (
    RUNTIME_MODULES,
    Imported,
    names_used,
    read_library,
    runtime_library,
)
from metaflow_dagster.runtime import PUBLIC

PACKAGE = Path(metaflow_dagster.__file__).parent
RUNTIME = "\n".join((PACKAGE / f"{name}.py").read_text() for name in RUNTIME_MODULES)

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


def top_level_names() -> set[str]:
    return {*runtime_library().names()}


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
    files = {f"runtime/{path.stem}" for path in (PACKAGE / "runtime").glob("*.py")}
    others = {"version", "internals/lookup", "internals/execution", "internals/metaflow"}
    assert sorted(RUNTIME_MODULES) == sorted(files - {"runtime/__init__"} | others)


def test_what_the_runtime_modules_import_of_each_other_is_no_import() -> None:
    library = read_library(
        ["A = 1\n", "from json import dumps\nfrom metaflow_dagster.runtime.one import A\nB = A\n"]
    )
    assert list(library.imports) == ["dumps"]
    assert library.closure(["B"]) == {"A", "B"}


def test_the_runtime_imports_nothing_under_another_name() -> None:
    aliases = [one for node in ast.walk(ast.parse(RUNTIME)) for one in getattr(node, "names", [])]
    assert [aliase for aliase in aliases if getattr(aliase, "asname", None)] == []


def test_what_files_import_is_in_the_module_that_is_named() -> None:
    for name, module in PUBLIC.items():
        own = read_library([(PACKAGE / "runtime" / f"{module}.py").read_text()])
        assert name in {*own.constants, *own.helpers}


def test_comments_go_with_what_they_stand_above() -> None:
    library = read_library(["import json\n\n# why\nA = 1  # what\n\n\n# how\ndef f():\n    pass\n"])
    assert library.constants["A"] == "# why\nA = 1  # what\n"
    assert library.helpers["f"] == "# how\ndef f():\n    pass\n"


def test_no_two_modules_of_the_runtime_define_the_same_name() -> None:
    defined: Counter[str] = Counter()
    for node in ast.parse(RUNTIME).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                defined[name] += 1
            case ast.Assign(targets=[ast.Name(id=name)]):
                defined[name] += 1
    assert [name for name, count in defined.items() if count > 1] == []
