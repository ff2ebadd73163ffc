"""A definitions file of the first version still runs, and what it has begun can be carried on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.support import checked, path_with_this_python, use_client

pytestmark = pytest.mark.slow

FILES = ROOT / "fixtures" / "earlier"
DEFINITIONS = "earlierflow_dagster.py"
REST = ["loop/t1-r1", "loop/t1-r2", "end/t1"]


@dataclass(frozen=True)
class Place:
    """A directory with the flow and its definitions file; the run in it has failed in a loop."""

    directory: Path
    run_id: str = ""

    @property
    def variables(self) -> dict[str, str]:
        home = str(self.directory / "home")
        return {"DAGSTER_HOME": home, "PATH": path_with_this_python(), "PYTHONPATH": str(ROOT)}

    def dagster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "earlier_flow.py", "--quiet", "dagster", *arguments],
            cwd=self.directory,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def allow(self) -> None:
        """Let nothing fail any more, and count anew."""
        (self.directory / "go").touch()
        (self.directory / "counted").unlink()

    def counted(self) -> list[str]:
        return (self.directory / "counted").read_text().splitlines()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("template") / "place"
    shutil.copytree(FILES, directory)
    (directory / ".metaflow").mkdir()
    (directory / "home").mkdir()
    (directory / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    place = Place(directory)
    failed = place.dagster("trigger", "--wait", "--size=3")
    (run_id,) = re.findall(r"^(dagster-\w+) has failed\.$", failed.stderr, re.MULTILINE)
    assert "There is no file go." in failed.stderr
    assert place.counted()[-1] == "loop/t1-r1"
    return replace(place, run_id=run_id)


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    directory = tmp_path / "place"
    shutil.copytree(template.directory, directory)
    return replace(template, directory=directory)


def test_commands_know_the_file(place: Place) -> None:
    assert "Failed" in place.dagster("status", place.run_id).stdout
    assert place.run_id in place.dagster("list-runs").stdout
    place.allow()
    assert place.dagster("resume", "--run-id", place.run_id, "--wait").returncode == 0
    assert place.counted() == REST
    assert place.dagster("delete").returncode == 0
    assert not (place.directory / DEFINITIONS).exists()


def test_a_new_file_resumes_the_run(place: Place) -> None:
    from metaflow import Run

    place.allow()
    assert place.dagster("create").returncode == 0
    resumed = place.dagster("resume", "--run-id", place.run_id, "--wait", "--run-id-file=id")
    assert resumed.returncode == 0, resumed.stderr
    assert place.counted() == REST
    use_client(place.directory)
    run = Run(f"EarlierFlow/{(place.directory / 'id').read_text()}", _namespace_check=False)
    assert run.successful
    assert run["gather"].task["nodes"].data == [0, 1]
    assert run["end"].task["results"].data == [0, 1, 2]


def test_a_new_file_re_executes_the_run(place: Place) -> None:
    from dagster import DagsterInstance

    place.allow()
    assert place.dagster("create").returncode == 0
    with DagsterInstance.from_config(str(place.directory / "home")) as instance:
        (failed,) = instance.get_runs()
    request = {"file": str(place.directory / DEFINITIONS), "job": "EarlierFlow", "tags": {}}
    again = {"config": failed.run_config, "after": failed.run_id, "steps": []}
    command = [sys.executable, "-m", "tests.execute", json.dumps({**request, **again})]
    checked(command, place.directory, **place.variables)
    assert place.counted() == REST
    assert (place.directory / ".metaflow" / "EarlierFlow" / place.run_id / "end" / "t1").is_dir()
