"""Several flows in one code location: by `metaflow-dagster create`, and as components."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from metaflow_dagster.version import VERSION
from tests.project import ROOT
from tests.support import DagsterRun, checked, dagster_run, snapshot

pytestmark = pytest.mark.slow

FLOWS = ROOT / "fixtures" / "flows"
FILES = {
    "branchesflow_dagster.py",
    "foreachflow_dagster.py",
    "linearflow_dagster.py",
    "definitions.py",
    "_metaflow_runtime.py",
}
SOURCE = """
from metaflow import FlowSpec, step

class {name}(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.result = {name!r}

if __name__ == "__main__":
    {name}()
"""


def new_project(directory: Path) -> Path:
    """A directory with a Metaflow datastore, and flows in another."""
    (directory / ".metaflow").mkdir()
    (directory / "pyproject.toml").touch()
    (directory / "flows").mkdir()
    return directory


def create(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `metaflow-dagster create` for the directory `defs`."""
    command = Path(sys.executable).with_name("metaflow-dagster")
    return subprocess.run(
        [str(command), "create", *arguments, "--output-dir", "defs"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def contents(directory: Path) -> Mapping[str, str]:
    """The text of every file but those that Python makes."""
    return {
        str(file.relative_to(directory)): file.read_text()
        for file in directory.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose three flows are compiled into one directory."""
    project = new_project(tmp_path_factory.mktemp("several flows"))
    for name in ("linear", "foreach", "branches"):
        shutil.copy(FLOWS / f"{name}.py", project / "flows")
    result = create(project, *flows(project), "--tag=team:search")
    assert result.returncode == 0, result.stderr
    assert "    dagster dev -f defs/definitions.py\n" in result.stdout
    assert "    LinearFlow: production:linearflow-0-" in result.stdout
    return project


def flows(project: Path) -> list[str]:
    return [f"flows/{file.name}" for file in (project / "flows").glob("*.py")]


@pytest.fixture
def project(compiled: Path, tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    return Path(shutil.copytree(compiled, tmp_path / "copy"))


# Loads the definitions as Dagster does with `-f`, with `-m`, and as a part of a package.
_LOAD = """
import importlib, sys
from pathlib import Path
from dagster import Definitions
from dagster._core.workspace.autodiscovery import (
    loadable_targets_from_python_file, loadable_targets_from_python_module
)
project = Path(sys.argv[1])
targets = loadable_targets_from_python_file(str(project / "defs" / "definitions.py"))
targets += loadable_targets_from_python_module("defs.definitions", str(project))
(project / "defs" / "part").mkdir()
(project / "defs" / "part" / "__init__.py").write_text("from ..definitions import defs")
sys.path.insert(0, str(project))
for defs in [one.target_definition for one in targets] + [
    importlib.import_module("defs.part").defs
]:
    Definitions.validate_loadable(defs)
    print(*sorted(job.name for job in defs.jobs))
"""


def test_loads_however_it_is_named(project: Path, tmp_path: Path) -> None:
    printed = checked([sys.executable, "-c", _LOAD, str(project)], tmp_path)
    assert printed.splitlines() == ["BranchesFlow ForeachFlow LinearFlow"] * 3


def test_files_are_those_of_create(compiled: Path, project: Path) -> None:
    assert {file.name for file in (project / "defs").glob("*.py")} == FILES
    texts = contents(project / "defs")
    command = [sys.executable, "../flows/linear.py", "dagster", "create", "linearflow_dagster.py"]
    checked([*command, "--tag=team:search", "--runtime=shared"], project / "defs")
    assert contents(project / "defs") == texts
    assert str(compiled) not in "".join(texts.values())


def test_jobs_run_side_by_side(project: Path) -> None:
    home = project / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    read(home)  # Dagster's databases are made here: two processes that do it break each other
    started = [start(project, home, job) for job in ("LinearFlow", "ForeachFlow")]
    printed = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    runs = read(home)
    assert result(project, "LinearFlow", runs["LinearFlow"], "answer") == 21
    squares = sum(number**2 for number in range(100, 112))
    assert result(project, "ForeachFlow", runs["ForeachFlow"], "total") == squares


def start(project: Path, home: Path, job: str) -> subprocess.Popen[str]:
    """Run a job of the code location in a process of its own."""
    options = ["-f", "defs/definitions.py", "-j", job]
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", "job", "execute", *options],
        cwd=project,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read(home: Path) -> Mapping[str, DagsterRun]:
    """The runs of a Dagster home by their jobs."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(home)) as instance:
        return {run.job_name: dagster_run(instance, run.run_id) for run in instance.get_runs()}


def result(project: Path, flow: str, run: DagsterRun, artifact: str) -> object:
    """What a run has made, which has the tag and the namespace of the set."""
    left = snapshot(project, f"{flow}/{run.metaflow_run_id}")
    assert run.succeeded, run.failures
    assert "team:search" in left.user_tags
    assert any(tag.startswith(f"production:{flow.lower()}-0-") for tag in left.system_tags)
    return left.tasks["end"][()].artifacts[artifact]


def test_check(project: Path) -> None:
    arguments = [*flows(project), "--tag=team:search", "--check"]
    current = create(project, *reversed(arguments))
    assert current.returncode == 0, current.stdout
    assert current.stdout.endswith(" are current.\n")

    definitions = project / "defs" / "definitions.py"
    definitions.write_text(definitions.read_text().replace("branchesflow_", "other_"))
    (project / "defs" / "foreachflow_dagster.py").unlink()
    runtime = project / "defs" / "_metaflow_runtime.py"
    runtime.write_text(runtime.read_text().replace(f'VERSION = "{VERSION}"', 'VERSION = "0.0.0"'))
    before = contents(project)
    without_linear = [argument for argument in arguments if argument != "flows/linear.py"]
    stale = create(project, *without_linear)
    assert stale.returncode == 1
    assert '\n-    definitions_of(HERE, __package__, "other_dagster"),\n' in stale.stdout
    assert '\n-VERSION = "0.0.0"\n' in stale.stdout
    assert "\n+def ForeachFlow(" in stale.stdout
    assert (
        "\ndefs/linearflow_dagster.py was generated from a flow that is not listed." in stale.stdout
    )
    assert "branchesflow_dagster.py" not in stale.stdout.replace("+    definitions_of", "")
    assert contents(project) == before


def test_nothing_changes_unless_all_compile(project: Path) -> None:
    (project / "flows" / "broken.py").write_text(
        SOURCE.format(name="BrokenFlow").replace("self.next(self.end)", "pass")
    )
    (project / "flows" / "absent.py").write_text("import no_such_module\n")
    (project / "flows" / "fresh.py").write_text(SOURCE.format(name="FreshFlow"))
    before = contents(project)
    refused = create(project, *flows(project), "--tag=other")
    assert refused.returncode == 1
    assert "flows/broken.py is not compiled:\n" in refused.stderr
    assert "missing a self.next() transition" in refused.stderr
    assert "flows/absent.py is not compiled:\n" in refused.stderr
    assert "No module named 'no_such_module'" in refused.stderr
    assert refused.stderr.endswith("\nNo file was changed.\n")
    assert contents(project) == before


def test_somebody_elses_job_is_not_replaced(project: Path) -> None:
    blob = project / ".metaflow" / "mf.dagster" / "ForeachFlow"
    blob.write_text(json.dumps({"owner": "else", "production_token": "their-0-token"}))
    before = contents(project)
    refused = create(project, *flows(project), "--tag=other")
    assert refused.returncode == 1
    assert "flows/foreach.py is not deployed:\n" in refused.stderr
    assert "flows/foreach.py dagster create --authorize TOKEN" in refused.stderr
    assert contents(project) == before


def test_same_jobs_are_refused_and_no_directory_is_left(tmp_path: Path) -> None:
    project = new_project(tmp_path)
    for name in ("one", "two"):
        (project / "flows" / f"{name}.py").write_text(SOURCE.format(name="TwinFlow"))
    before = contents(project)
    refused = create(project, "flows/one.py", "flows/two.py")
    assert refused.returncode == 1
    assert "flows/one.py and flows/two.py have the same job, TwinFlow." in refused.stderr
    assert contents(project) == before
    assert not (project / "defs").exists()


def test_jobs_whose_files_would_be_the_same(tmp_path: Path) -> None:
    project = new_project(tmp_path)
    for name in ("Twin", "TWIN"):
        (project / "flows" / f"{name}_flow.py").write_text(SOURCE.format(name=name))
    made = create(project, *flows(project))
    assert made.returncode == 0, made.stderr
    texts = contents(project / "defs")
    own = {"twin_dagster.py", "twin_dagster_.py", "definitions.py"}
    assert texts.keys() == {*own, "_metaflow_runtime.py"}
    assert " dagster create twin_dagster_.py \\\n" in texts["twin_dagster_.py"]
    assert create(project, *flows(project), "--check").returncode == 0
