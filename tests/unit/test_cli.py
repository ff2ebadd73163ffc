"""The command line, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaflow_dagster import synthesize
from metaflow_dagster.generated import is_generated_file
from tests.unit.flows import flow_class, flow_source

SOURCE = flow_source(body="rate = Parameter('rate', default=0.5)")


@pytest.fixture
def flow_file(tmp_path: Path) -> Path:
    file = tmp_path / "my flow ü.py"
    file.write_text(SOURCE, encoding="utf-8")
    return file


def create(flow_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, flow_file.name, "dagster", "create", *arguments],
        cwd=flow_file.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"__pycache__"}


def test_create(flow_file: Path) -> None:
    result = create(flow_file)
    assert result.returncode == 0, result.stderr
    assert "    dagster dev -f myflow_dagster.py\n" in result.stdout
    assert "    dagster job execute -f myflow_dagster.py -j MyFlow\n" in result.stdout
    assert files(flow_file.parent) == {flow_file.name, "myflow_dagster.py"}


def test_command_for_a_flow_that_needs_values(flow_file: Path) -> None:
    body = "city = Parameter('city', required=True)\nsize = Parameter('size', default=1)"
    flow_file.write_text(flow_source(body=body), encoding="utf-8")
    result = create(flow_file)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"    python '{flow_file.name}' dagster trigger --city VALUE\n")
    assert "    city  str, required\n" in result.stdout
    assert "dagster job execute" not in result.stdout


@pytest.mark.slow
def test_create_for_other_machines(flow_file: Path) -> None:
    result = create(flow_file, "--executor=celery")
    assert result.returncode == 0, result.stderr
    assert "Ops run by dagster_celery.celery_executor." in result.stdout
    assert "pip install dagster-celery wherever" in result.stdout
    assert "the datastore is local" in result.stdout
    assert "the metadata is local" in result.stdout
    assert "Ops run by" not in create(flow_file).stdout


@pytest.mark.slow
def test_check(flow_file: Path) -> None:
    output = flow_file.parent / "out ü.py"
    missing = create(flow_file, output.name, "--check")
    assert missing.returncode == 1
    assert "+def MyFlow" in missing.stdout
    assert not output.exists()

    assert create(flow_file, output.name).returncode == 0
    current = create(flow_file, output.name, "--check")
    assert (current.returncode, current.stdout) == (0, f"{output.name} is current.\n")

    output.write_text(output.read_text().replace("def MyFlow", "def Other"))
    before = output.read_text()
    stale = create(flow_file, output.name, "--check")
    assert stale.returncode == 1
    assert "\n-def Other(" in stale.stdout
    assert "\n+def MyFlow(" in stale.stdout
    assert output.read_text() == before


def test_show_plan(flow_file: Path) -> None:
    result = create(flow_file, "--show-plan")
    assert result.returncode == 0
    assert result.stdout == "job MyFlow\n    op_start()\n    op_end(op_start)\n"
    assert files(flow_file.parent) == {flow_file.name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["my flow ü.py"], "is the flow itself", id="the flow"),
        pytest.param(["link.py"], "is the flow itself", id="the flow by a link"),
        pytest.param(["out.py", "--name", "my-job"], "--name 'my-job'", id="name"),
        pytest.param(["out.py", "--tag", " "], "--tag ' ' is malformed", id="blank tag"),
        pytest.param(["out.py", "--tag", "a\nb"], "--tag 'a\\nb'", id="control character"),
        pytest.param(["out.py", "--tag", "x" * 501], "501 characters", id="long tag"),
        pytest.param(["nowhere/out.py"], "does not exist", id="missing directory"),
        pytest.param(["out.txt"], "Let it end in .py", id="suffix"),
        pytest.param(["."], "is a directory", id="directory"),
        pytest.param(["/proc/out.py"], "cannot be written", id="unwritable directory"),
        pytest.param(["out.py", "--max-workers", "0"], "--max-workers 0", id="no workers"),
        pytest.param(["out.py", "--with", "nonsense"], "nonsense", id="decorator"),
        pytest.param(["out.py"], "out.py was not written by this command", id="written by hand"),
        pytest.param(["metaflow.py"], "instead of the module metaflow", id="name of a module"),
    ],
)
def test_refused(arguments: list[str], message: str, flow_file: Path) -> None:
    (flow_file.parent / "link.py").symlink_to(flow_file)
    (flow_file.parent / "out.py").write_text("old")
    before = files(flow_file.parent)
    result = create(flow_file, *arguments)
    output = result.stdout + result.stderr
    assert result.returncode == 1
    assert message in output
    assert "Traceback" not in output
    assert "\n\n" not in result.stderr.strip()
    assert (flow_file.parent / "out.py").read_text() == "old"
    assert flow_file.read_text(encoding="utf-8") == SOURCE
    assert files(flow_file.parent) == before


def test_what_was_written_by_hand_is_replaced_if_forced(flow_file: Path) -> None:
    (flow_file.parent / "out.py").write_text("old")
    assert create(flow_file, "out.py", "--force").returncode == 0
    assert is_generated_file(flow_file.parent / "out.py")
    assert create(flow_file, "out.py").returncode == 0


def test_text_is_that_of_synthesize(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, SOURCE)
    file = Path(sys.modules[flow.__module__].__file__ or "")
    arguments = "--name=nightly --tag=a --tag=b --with=retry:times=2 --namespace=prod"
    limits = "--workflow-timeout=60 --max-workers=2 --executor=threads --warm-steps --preload=json"
    result = create(file, "out.py", *arguments.split(), *limits.split())
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.py").read_text() == synthesize(
        flow,
        output=tmp_path / "out.py",
        name="nightly",
        tags=["a", "b"],
        decospecs=["retry:times=2"],
        namespace="prod",
        workflow_timeout=60,
        max_workers=2,
        executor="threads",
        warm_steps=True,
        preload=["json"],
    )
