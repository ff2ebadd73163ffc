"""A flow in a project of Dagster's `dg`, compiled when the definitions are loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster
import pytest

from tests.docs.pages import block_of, file_of
from tests.project import ROOT
from tests.support import checked, snapshot

has_components = pytest.mark.skipif(
    not hasattr(dagster, "Component"), reason="this Dagster has no components"
)

DEFS = block_of("docs/code-location.md", "A component", "yaml").text
SCORES_FLOW = file_of("README.md", "scores_flow.py")

# Loads the project from elsewhere, and runs the job that is named, if one is.
_LOAD = """
import sys
from pathlib import Path
from dagster import DagsterInstance, Definitions, load_from_defs_folder
project, *jobs = sys.argv[1:]
sys.path.insert(0, f"{project}/src")
defs = load_from_defs_folder(path_within_project=Path(project))
Definitions.validate_loadable(defs)
for job in defs.jobs:
    print(job.name)
for name in jobs:
    job = defs.get_job_def(name)
    result = job.execute_in_process(instance=DagsterInstance.ephemeral())
    print(result.output_for_node("op_end").split("/")[0])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A `dg` project with one flow that is named twice, and a Metaflow datastore."""
    (tmp_path / ".metaflow").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "ours"\n'
    )
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "scores_flow.py").write_text(SCORES_FLOW)
    for name in ("first", "second"):
        package = tmp_path / "src" / "ours" / "defs" / name
        package.mkdir(parents=True)
        (package / "defs.yaml").write_text(f"{DEFS}  name: {name}_scores\n")
    (tmp_path / "src" / "ours" / "__init__.py").touch()
    (tmp_path / "src" / "ours" / "defs" / "__init__.py").touch()
    return tmp_path


def files(directory: Path) -> set[Path]:
    return {file for file in directory.rglob("*") if "__pycache__" not in file.parts}


@pytest.mark.slow
@has_components
def test_is_compiled_when_it_is_loaded(project: Path) -> None:
    before = files(project / "src") | files(project / "flows")
    printed = checked([sys.executable, "-c", _LOAD, str(project), "second_scores"], ROOT / "docs")
    first, second, run_id = printed.splitlines()[:2] + printed.splitlines()[-1:]
    assert {first, second} == {"first_scores", "second_scores"}
    left = snapshot(project, f"ScoresFlow/{run_id}")
    assert left.tasks["end"][()].artifacts["scores"] == {"be": 2, "not": 1, "or": 1, "to": 2}
    assert "team:search" in left.user_tags
    assert files(project / "src") | files(project / "flows") == before


@pytest.mark.slow
@has_components
def test_the_asset_of_an_event_may_be_the_project_s_own(project: Path) -> None:
    file = project / "flows" / "scores_flow.py"
    triggered = '@trigger(event="words")\nclass ScoresFlow('
    file.write_text(
        f"from metaflow import trigger\n{SCORES_FLOW.replace('class ScoresFlow(', triggered)}"
    )
    (project / "src" / "ours" / "defs" / "first" / "defs.yaml").write_text(DEFS)
    (project / "src" / "ours" / "defs" / "words.py").write_text(
        "from dagster import asset\n\n@asset\ndef words() -> None:\n    pass\n"
    )
    code = f"{_LOAD}for key in sorted(defs.resolve_asset_graph().get_all_asset_keys()): print(key)"
    printed = checked([sys.executable, "-c", code, str(project)], ROOT / "docs").splitlines()
    assert printed[-2:] == ["AssetKey(['metaflow.ScoresFlow.end'])", "AssetKey(['words'])"]


@pytest.mark.slow
@has_components
@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param(None, "There is no such file. Fix `flow` in", id="no file"),
        pytest.param("import no_such_module\n", "No module named 'no_such_module'", id="error"),
    ],
)
def test_errors_name_the_flow(source: str | None, said: str, project: Path) -> None:
    flow = project / "flows" / "scores_flow.py"
    flow.unlink()
    if source is not None:
        flow.write_text(source)
    result = subprocess.run(
        [sys.executable, "-c", _LOAD, str(project)], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "scores_flow.py is not compiled:\n" in result.stderr
    assert said in result.stderr


def test_says_that_dagster_is_too_old() -> None:
    code = "import dagster; vars(dagster).pop('Component', None); import metaflow_dagster"
    script = f"{code}; print(metaflow_dagster.CompileError); metaflow_dagster.MetaflowFlowComponent"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "<class 'metaflow_dagster.diagnostics.CompileError'>\n"
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: Dagster {dagster.__version__} is too old for Metaflow")
