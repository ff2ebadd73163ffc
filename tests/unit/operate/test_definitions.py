"""The loading of a job from a definitions file, as the embedded Dagster does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster._core.workspace import autodiscovery

from metaflow_dagster import synthesize
from metaflow_dagster.operate.definitions import load_job, start_op
from metaflow_dagster.operate.errors import RunNotStarted
from tests.unit.flows import flow_class, flow_source

SEVERAL = """
from dagster import Definitions, job, op

@op
def work():
    pass

@job(tags={"metaflow/flow": "MyFlow"})
def one():
    work()

@job(tags={"metaflow/flow": "MyFlow"})
def two():
    work()

defs = Definitions(jobs=[one, two])
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    file = tmp_path / "compiled.py"
    file.write_text(synthesize(flow_class(tmp_path, flow_source()), output=file, name="nightly"))
    return file


@pytest.mark.parametrize("name", ["nightly", None])
def test_job_has_the_origins_that_the_user_interface_knows(
    name: str | None, compiled: Path
) -> None:
    job = load_job(compiled, "MyFlow", name)
    assert job.definition.name == "nightly"
    assert start_op(job.definition) == "op_start"
    assert job.remote_origin.location_name == "compiled.py"
    assert job.remote_origin.repository_origin.repository_name == "__repository__"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("import nothing_like_this", None, "cannot be loaded (DagsterImportError: "),
        ("1 / 0", None, "cannot be loaded (ZeroDivisionError: division by zero)"),
        ("x = 1", None, "cannot be loaded (DagsterInvariantViolationError: "),
        (SEVERAL, None, "several jobs of the flow MyFlow. Choose one with --name: one, two."),
        (SEVERAL, "three", "no job three of the flow MyFlow. Name one that it has: one, two."),
        (SEVERAL.replace("MyFlow", "X"), None, "has no job of the flow MyFlow. Name its file"),
    ],
)
def test_refused(text: str, name: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "definitions.py"
    file.write_text(text)
    with pytest.raises(RunNotStarted) as caught:
        load_job(file, "MyFlow", name)
    assert message in str(caught.value)


def test_dagster_that_lacks_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(autodiscovery, "loadable_targets_from_python_file")
    reason = "Dagster, which has no dagster._core.workspace.autodiscovery.loadable_targets_from_"
    with pytest.raises(RunNotStarted, match=reason):
        load_job(tmp_path / "none.py", "MyFlow", None)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunNotStarted) as caught:
        load_job(tmp_path / "none.py", "MyFlow", None)
    assert "There is no definitions file" in str(caught.value)
    assert "dagster create" in str(caught.value)
