from __future__ import annotations

import libcst as cst
import pytest

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.emit.library import Imported, Library, read_library
from metaflow_dagster.emit.scope import ModuleScope

SOURCE = """
import json
from typing import Any

LIMIT = 1

def leaf(x: Any): return json.dumps(x)
def root(): return leaf(LIMIT)
def other(): pass
"""


def scope(*taken: str) -> ModuleScope:
    library: Library = read_library([SOURCE])
    return ModuleScope(library, taken)


def code(*nodes: cst.BaseStatement) -> str:
    return cst.Module(nodes).code


def test_nothing_is_needed_at_first() -> None:
    empty = scope()
    assert list(empty.imports()) == list(empty.constants()) == list(empty.helpers()) == []


def test_a_reference_brings_along_all_that_it_needs() -> None:
    used = scope()
    used.ref("root")
    assert set(used.imports()) == {
        (Imported("json", None), "json"),
        (Imported("typing", "Any"), "Any"),
    }
    assert [original for original, _, _ in used.constants()] == ["LIMIT"]
    assert code(*used.helpers()).strip().splitlines() == [
        "def leaf(x: Any): return json.dumps(x)",
        "def root(): return leaf(LIMIT)",
    ]


def test_what_a_user_has_taken_is_called_otherwise_everywhere() -> None:
    used = scope("json", "leaf", "leaf_", "LIMIT")
    assert cst.Module([]).code_for_node(used.ref("root")) == "root"
    assert (Imported("json", None), "json_") in set(used.imports())
    assert [(original, here) for original, here, _ in used.constants()] == [("LIMIT", "LIMIT_")]
    assert code(*used.helpers()).strip().splitlines() == [
        "def leaf__(x: Any): return json_.dumps(x)",
        "def root(): return leaf__(LIMIT_)",
    ]


def test_imports_of_what_is_generated() -> None:
    used = scope("Config")
    assert cst.Module([]).code_for_node(used.ref("Config")) == "Config_"
    assert list(used.imports()) == [(Imported("dagster", "Config"), "Config_")]


@pytest.mark.parametrize("name", ["roott", "dumps", ""])
def test_what_nothing_defines_is_refused(name: str) -> None:
    used = scope()
    with pytest.raises(InternalError, match=repr(name)):
        used.ref(name)
    assert list(used.imports()) == list(used.helpers()) == []
