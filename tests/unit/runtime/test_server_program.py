"""The program of a step server, made in a generated file, where other names are about."""

from __future__ import annotations

import pytest

from metaflow_dagster.runtime import warm
from tests.golden import GOLDEN
from tests.support import load_module

MODULES = {"gc", "importlib", "json", "os", "socket", "sys"}


@pytest.mark.parametrize("names", [[], ["path", "index", "socketpair"]], ids=["own", "others"])
def test_imports_what_it_looks_up(names: list[str]) -> None:
    module = load_module(GOLDEN / "linear_warm_dagster.py")
    for name in names:  # as jobs are called, if a flow is; the program has attributes of that name
        setattr(module, name, module.LinearFlow)
    imports = _imports(module.server_program())
    assert imports == {f"import {name} as {name}" for name in MODULES} | {
        "from __future__ import annotations",
        "from contextlib import suppress as suppress",
    }


def test_is_the_same_from_a_module() -> None:
    module = load_module(GOLDEN / "linear_warm_dagster.py")
    generated, own = module.server_program(), warm.server_program()
    assert _imports(generated) == _imports(own)


def _imports(program: str) -> set[str]:
    return {line for line in program.splitlines() if line.startswith(("import ", "from "))}
