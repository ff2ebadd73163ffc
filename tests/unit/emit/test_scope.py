from __future__ import annotations

import libcst as cst
import pytest

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.emit.build import Expression
from metaflow_dagster.emit.delivery import Delivery, Inline, Installed, Shared
from metaflow_dagster.emit.library import Imported, Library, read_library
from metaflow_dagster.emit.scope import ModuleScope

SOURCE = """
import json
from typing import Any

LIMIT = 1

def flat(x: Any): return json.dumps(x)
def run_step(): return flat(LIMIT)
def other(): pass
"""
LIBRARY: Library = read_library([SOURCE])

every_delivery = pytest.mark.parametrize("delivery", [Inline(LIBRARY), Shared(), Installed()])


def code(*nodes: cst.BaseStatement) -> str:
    return cst.Module(nodes).code


def said(expression: Expression) -> str:
    return cst.Module([]).code_for_node(expression)


@every_delivery
def test_nothing_is_needed_at_first(delivery: Delivery) -> None:
    empty = ModuleScope(delivery)
    needed = [*empty.imports(), *empty.shared_imports(), *empty.constants(), *empty.helpers()]
    assert needed == []


def test_a_reference_brings_along_all_that_it_needs() -> None:
    used = ModuleScope(Inline(LIBRARY))
    assert said(used.ref("run_step")) == "run_step"
    assert set(used.imports()) == {
        (Imported("json", None), "json"),
        (Imported("typing", "Any"), "Any"),
    }
    assert code(*used.constants()).strip() == "LIMIT = 1"
    assert code(*used.helpers()).strip().splitlines() == [
        "def flat(x: Any): return json.dumps(x)",
        "def run_step(): return flat(LIMIT)",
    ]


def test_what_is_installed_is_imported() -> None:
    used = ModuleScope(Installed())
    used.ref("run_step")
    assert set(used.imports()) == {(Imported("metaflow_dagster.runtime", "run_step"), "run_step")}
    assert [*used.shared_imports(), *used.helpers()] == []


def test_what_is_shared_is_imported_from_beside() -> None:
    used = ModuleScope(Shared())
    used.ref("run_step")
    assert [*used.imports(), *used.helpers()] == []
    assert set(used.shared_imports()) == {(Imported("_metaflow_runtime", "run_step"), "run_step")}


@every_delivery
@pytest.mark.parametrize("taken", ["Config", "run_step", "FLOW", "print", "os"])
def test_names_of_the_module_are_not_for_users(delivery: Delivery, taken: str) -> None:
    scope = ModuleScope(delivery)
    assert scope.claim(taken) == f"{taken}_"
    assert scope.claim("mine") == "mine"


def test_helpers_that_are_not_used_take_names_where_they_are() -> None:
    assert ModuleScope(Inline(LIBRARY)).claim("other") == "other_"
    assert ModuleScope(Installed()).claim("other") == "other"


def test_what_is_imported_for_a_user_has_a_name_of_its_own() -> None:
    scope = ModuleScope(Installed())
    scope.claim("executor")
    assert said(scope.imported("mine", "executor")) == "executor_"
    assert said(scope.imported("mine", "executor")) == "executor_"
    assert list(scope.imports()) == [(Imported("mine", "executor"), "executor_")]


@every_delivery
def test_what_is_not_there_cannot_be_referred_to(delivery: Delivery) -> None:
    with pytest.raises(InternalError, match="run_stepp"):
        ModuleScope(delivery).ref("run_stepp")
