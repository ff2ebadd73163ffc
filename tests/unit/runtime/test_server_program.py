"""The program of a step server, made in a generated file, where other names are about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaflow_dagster.options import Options
from metaflow_dagster.runtime import warm
from tests.golden import GOLDEN
from tests.support import load_module
from tests.unit.samples import emitted, job_of, linear_flow

MODULES = {"gc", "importlib", "json", "os", "socket", "sys"}


@pytest.mark.parametrize("names", [[], ["path", "index", "socketpair"]], ids=["own", "others"])
def test_imports_what_it_looks_up(names: list[str]) -> None:
    module = load_module(GOLDEN / "linear_warm_dagster.py")
    for name in names:  # as jobs are called, if a flow is; the program has attributes of that name
        setattr(module, name, module.warm_linear)
    imports = _imports(module.server_program())
    assert imports == {f"import {name} as {name}" for name in MODULES} | {
        "from __future__ import annotations",
        "from contextlib import suppress as suppress",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["json", "os", "suppress", "serve_steps", "Any"])
def test_names_of_jobs_are_not_in_the_way(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"job_{name}.py"
    file.write_text(emitted(linear_flow(name), Options(warm_steps=True)), encoding="utf-8")
    module = load_module(file)
    assert vars(module)[name] is job_of(module)
    # The socket is there before, and what only annotations name is never looked up.
    assert undefined(f"control = Any = Any_ = None\n{module.server_program()}") == ""


def undefined(program: str) -> str:
    """What ruff finds of names in a program that nothing defines, or that are defined twice."""
    rules = ["--isolated", "--select=E9,F811,F821", "--ignore=F404", "--output-format=concise"]
    command = [sys.executable, "-m", "ruff", "check", *rules, "-"]
    result = subprocess.run(command, input=program, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_is_the_same_from_a_module() -> None:
    module = load_module(GOLDEN / "linear_warm_dagster.py")
    generated, own = module.server_program(), warm.server_program()
    assert _imports(generated) == _imports(own)


def _imports(program: str) -> set[str]:
    return {line for line in program.splitlines() if line.startswith(("import ", "from "))}
