"""The golden files are what the compiler writes, and good Python and Dagster wherever they are."""

from __future__ import annotations

import difflib
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import dagster
import pytest
from dagster import Definitions, JobDefinition

import metaflow_dagster
from tests.golden import (
    ASSET_CASES,
    CASES,
    FIXTURES,
    FLOW_CASES,
    FLOWS,
    GOLDEN,
    POD_CASE,
    USER,
    Case,
    compiled,
    orphans,
)
from tests.support import checked, load_module, path_with_this_python

ROOT = FIXTURES.parent
RUNTIME = Path(metaflow_dagster.__file__).parent / "runtime"

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_is_what_the_compiler_writes(case: Case) -> None:
    file = GOLDEN / case.output
    golden, now = file.read_bytes().decode(), compiled(case)
    if golden != now:
        lines = difflib.unified_diff(
            golden.splitlines(), now.splitlines(), case.output, "as compiled", lineterm=""
        )
        pytest.fail("\n".join(["`make golden` writes it anew.", *lines]), pytrace=False)


def test_every_file_belongs_to_a_case_and_every_flow_to_one() -> None:
    assert orphans() == set()
    assert {file.stem for file in FLOWS.glob("*.py")} - {case.flow for case in CASES} == {
        "base_flow"
    }


@pytest.mark.slow
def test_is_the_same_on_other_machines(tmp_path: Path) -> None:
    elsewhere = {
        "METAFLOW_USER": "somebody",
        "METAFLOW_DEFAULT_METADATA": "service",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": "/elsewhere",
        "PYTHONHASHSEED": "7",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
    }
    checked([sys.executable, str(ROOT / "tests" / "golden.py")], tmp_path, **elsewhere)


def test_all_pass_ruff() -> None:
    rules = ["--isolated", "--select=E,F,I", "--line-length=105"]  # a record has one line
    checked([sys.executable, "-m", "ruff", "check", *rules, "."], GOLDEN)


@every_case
def test_names_nothing_of_this_machine(case: Case) -> None:
    text = (GOLDEN / case.output).read_text(encoding="utf-8")
    paths = {str(ROOT), os.path.expanduser("~"), os.path.expanduser(f"~{getpass.getuser()}")}
    assert [path for path in paths if f"{path}/" in text] == []
    names = {socket.gethostname(), getpass.getuser()}
    if case.flow != "projects":  # whose branch in the project is the user's
        names.add(USER)
    # A user called `root` is not named by the helpers that use the word.
    helpers = "".join(path.read_text(encoding="utf-8") for path in RUNTIME.glob("*.py"))
    words = _words(text) - _words(helpers)
    assert names & words == set()


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


@cache
def loaded(output: str) -> Any:
    """The module of a golden file, which is loaded once for all tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_module(GOLDEN / output)


@every_case
def test_loads_in_dagster_without_warnings_as_the_job_of_its_name(case: Case) -> None:
    module = loaded(case.output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Definitions.validate_loadable(module.defs)
    (job,) = module.defs.jobs
    assert isinstance(module.defs.get_repository_def().get_job(job.name), JobDefinition)
    identifier = f"{job.name}_" if job.name in ("Config", "Definitions", "job") else job.name
    assert getattr(module, identifier) is job
    if case.flow != "projects":
        assert job.name == case.options.get("name", case.class_name)


_IMPORT_ALL = """
import importlib.util, sys
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("definitions", path)
    sys.modules["definitions"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["definitions"])
    if "metaflow" in sys.modules:
        sys.exit(f"{path} imports metaflow")
"""


@pytest.mark.slow
def test_importing_it_does_not_import_metaflow(tmp_path: Path) -> None:
    files = [str(GOLDEN / case.output) for case in CASES]
    checked([sys.executable, "-c", _IMPORT_ALL, *files], tmp_path)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flows in a project that is somewhere else."""
    project = tmp_path_factory.mktemp("project with a space")
    shutil.copytree(FLOWS, project / "fixtures" / "flows")
    (project / "fixtures" / "golden").mkdir()
    (project / "pyproject.toml").touch()
    return project


@pytest.mark.slow
@pytest.mark.parametrize("case", [*FLOW_CASES, POD_CASE], ids=str)
def test_the_command_line_writes_the_same(case: Case, copied: Path) -> None:
    flow, output = (Path("fixtures", "flows", case.flow_file), f"fixtures/golden/{case.output}")
    options = ["dagster", "create", output, *case.command_line_options()]
    checked([sys.executable, str(flow), *options], copied)
    assert (copied / output).read_bytes() == (GOLDEN / case.output).read_bytes()


def test_the_command_in_its_header_writes_the_same(copied: Path) -> None:
    case = next(case for case in CASES if case.variant == "options")
    text = (GOLDEN / case.output).read_text(encoding="utf-8")
    header = [line[1:] for line in text.split("\n\n")[0].splitlines()]
    command = "\n".join(header[header.index("     cd to the directory of this file") + 1 : -2])
    golden = copied / "fixtures" / "golden"
    subprocess.run(
        ["bash", "-c", command],
        cwd=golden,
        env={**os.environ, "PATH": path_with_this_python()},
        check=True,
    )
    assert (golden / case.output).read_text(encoding="utf-8") == text


def test_all_load_in_one_code_location() -> None:
    definitions = {}
    together = [case for case in CASES if case not in ASSET_CASES]
    for case in together:
        defs = loaded(case.output).defs
        definitions[next(iter(defs.jobs)).name] = defs
    merged = Definitions.merge(*definitions.values())
    Definitions.validate_loadable(merged)
    assert {job.name for job in merged.jobs} == set(definitions)
    assert len(definitions) > len(together) - 3


def test_the_check_of_a_code_location_can_fail() -> None:
    twice = [load_module(GOLDEN / "linear_dagster.py").defs for _ in range(2)]
    with pytest.raises(dagster.DagsterInvalidDefinitionError):
        Definitions.validate_loadable(Definitions.merge(*twice))


@pytest.mark.parametrize(("flow", "limit"), [("linear", 100), ("forecast", 230)])
def test_is_short_enough_to_be_reviewed(flow: str, limit: int) -> None:
    lines = (GOLDEN / f"{flow}_dagster.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= limit


def test_a_changed_line_of_a_flow_is_one_of_the_file(tmp_path: Path) -> None:
    source = (FLOWS / "linear.py").read_text(encoding="utf-8")
    changed = source.replace("Fits a line through a handful of points.", "Fits a line.")
    texts = []
    for text in (source, changed):
        (tmp_path / "linear.py").write_text(text, encoding="utf-8")
        command = ["linear.py", "dagster", "create", "out.py", "--runtime=installed"]
        checked([sys.executable, *command], tmp_path)
        texts.append((tmp_path / "out.py").read_text(encoding="utf-8"))
    changes = [line for line in difflib.ndiff(*map(str.splitlines, texts)) if line[0] in "+-"]
    assert changes == [
        '-     description="Fits a line through a handful of points.",',
        '+     description="Fits a line.",',
    ]
