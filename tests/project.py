"""A directory with one flow, compiled and run by Dagster the way a user does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import (
    DagsterRun,
    RunSnapshot,
    checked,
    dagster_run,
    path_with_this_python,
    snapshot,
)

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Project:
    """A flow file with a Metaflow datastore and a Dagster home next to it."""

    directory: Path
    flow_name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def flow_file(self) -> Path:
        return self.directory / "flow.py"

    @property
    def definitions(self) -> Path:
        return self.directory / "definitions.py"

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of every command; Metaflow takes what is on the path for the code."""
        path = os.pathsep.join(filter(None, [self.environment.get("PYTHONPATH"), str(ROOT)]))
        return {**self.environment, "DAGSTER_HOME": str(self.home), "PYTHONPATH": path}

    @property
    def home(self) -> Path:
        return self.directory / "dagster"

    def write(self, source: str) -> None:
        """Write the flow; `{counter}` in it is a statement that counts the task that is run."""
        count = "open('counted', 'a').write(current.pathspec.split('/', 2)[2] + '\\n')"
        self.flow_file.write_text(textwrap.dedent(source).replace("{counter}", count))

    @property
    def identity(self) -> Mapping[str, str]:
        """What gives a native run the production token of the deployed job."""
        blob = self.directory / ".metaflow" / "mf.dagster" / self.flow_name
        return {"METAFLOW_PRODUCTION_TOKEN": json.loads(blob.read_text())["production_token"]}

    def metaflow(self, *arguments: str, **environment: str) -> str:
        """What a command of the flow prints."""
        command = [sys.executable, "flow.py", *arguments]
        return checked(command, self.directory, **{**self.variables, **environment})

    def create(self, *options: str) -> str:
        """Compile the flow by its command line."""
        return self.metaflow("dagster", "create", self.definitions.name, *options)

    def run_natively(self, *options: str) -> str:
        """Run the flow by Metaflow's own scheduler, and return the id of the run."""
        file = self.directory / "native-run-id"
        environment = {"PATH": path_with_this_python(), **self.identity}
        self.metaflow("--quiet", "run", f"--run-id-file={file}", *options, **environment)
        return file.read_text()

    def counted(self) -> list[str]:
        """The tasks that have counted themselves, as step/task."""
        file = self.directory / "counted"
        return file.read_text().splitlines() if file.exists() else []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `dagster job execute` on the project's instance."""
        options = ["-f", self.definitions.name, "-j", self.flow_name, *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "dagster", "job", "execute", *options],
            cwd=self.directory,
            env={**os.environ, **self.variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(
        self,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        after: str | None = None,
        steps: Sequence[str] = (),
    ) -> DagsterRun:
        """Run the job in a process of its own, all of its ops in that process.

        `after` is a Dagster run to be re-executed: from its failure, or only the ops in `steps`.
        """
        request = {
            "file": str(self.definitions),
            "job": self.flow_name,
            "tags": dict(tags or {}),
            "config": dict(config or {}),
            "after": after,
            "steps": list(steps),
        }
        command = [sys.executable, "-m", "tests.execute", json.dumps(request)]
        run_id = checked(command, self.directory, **self.variables).splitlines()[-1]
        return self.dagster_run(run_id)

    def dagster_run(self, run_id: str | None = None) -> DagsterRun:
        """What Dagster says of a run, by default the latest."""
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.home)) as instance:
            latest = instance.get_run_records(limit=1)[0].dagster_run.run_id
            return dagster_run(instance, run_id or latest)

    def snapshot(self, run_id: str, left_out: Collection[str] = ()) -> RunSnapshot:
        """What Metaflow says of a run, without some artifacts."""
        return snapshot(self.directory, f"{self.flow_name}/{run_id}", left_out)


def new_project(
    directory: Path, flow_name: str, source: str, *options: str, **environment: str
) -> Project:
    """Write a flow and compile it."""
    (directory / ".metaflow").mkdir()
    (directory / "dagster").mkdir()
    (directory / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    project = Project(directory, flow_name, environment)
    project.write(source)
    project.create(*options)
    return project
