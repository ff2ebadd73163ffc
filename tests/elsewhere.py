"""A flow whose ops are executed on other machines, which have no more than an image holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.golden import FIXTURES
from tests.services.metadata_service import MetadataService
from tests.services.reader import Reading, read_elsewhere
from tests.services.s3 import S3
from tests.support import DagsterRun, RunSnapshot, dagster_run, differences

FLOW_NAME = "ElsewhereFlow"
IMAGE = "registry.example.org/flows:1"
SECRETS = {"words": {"SECRET_WORD": "xyzzy"}}

# What machines find where they run: a role's credentials and who asks.
NODE = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "tester",
    "AWS_DEFAULT_REGION": "us-east-1",
    "METAFLOW_USER": "tester",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
}
SECONDS_FOR_A_RUN = 200


@dataclass
class Elsewhere:
    """The flow where one develops, the image with its definitions, and the Dagster that has them.

    `clients` is what the clients of the API take from the environment.
    """

    directory: Path
    s3: S3
    service: MetadataService
    clients: Mapping[str, str]
    options: tuple[str, ...]
    execution: Mapping[str, Any]
    instance: Mapping[str, Any] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(FIXTURES / "elsewhere", self.source)
        self.image.mkdir()
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(
            json.dumps({"telemetry": {"enabled": False}, **self.instance})
        )
        (self.directory / "config.yaml").write_text(
            json.dumps({"execution": {"config": self.execution}})
        )

    @property
    def source(self) -> Path:
        """The directory of the flow's file, which only those who develop have."""
        return self.directory / "source"

    @property
    def image(self) -> Path:
        """What is in the image, beside Python."""
        return self.directory / "image"

    @property
    def home(self) -> Path:
        """The home of Dagster, which stands for a database that all machines reach."""
        return self.directory / "dagster"

    @property
    def development(self) -> dict[str, str]:
        """The environment where one develops."""
        service = {
            "METAFLOW_DEFAULT_METADATA": "service",
            "METAFLOW_SERVICE_URL": self.service.url,
        }
        return {**os.environ, **NODE, **self.s3.settings, **service, **self.clients}

    def flow(self, *arguments: str, **environment: str) -> str:
        """Run a command of the flow."""
        result = subprocess.run(
            [sys.executable, "elsewhere_flow.py", *arguments],
            cwd=self.source,
            env={**self.development, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_FOR_A_RUN,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    @cached_property
    def token(self) -> str:
        """The production token of the deployed job."""
        output = self.flow("dagster", "create", str(self.image / "definitions.py"), *self.options)
        match = re.search(r"namespace\(\"production:(.+)\"\)", output)
        assert match is not None, output
        return match[1]

    @cached_property
    def native(self) -> Reading:
        """The run by `python flow.py run`."""
        file = self.directory / "run-id"
        self.flow(
            "run",
            f"--run-id-file={file}",
            "--tag=team:search",
            METAFLOW_PRODUCTION_TOKEN=self.token,
            WITHOUT_KUBERNETES="yes",
            **SECRETS["words"],
        )
        return self.read(file.read_text())

    def read(self, run_id: str) -> Reading:
        """Read a run where one develops."""
        return read_elsewhere(f"{FLOW_NAME}/{run_id}", self.development)

    def leave(self) -> None:
        """Compile, and go to the machines that have no copy of the flow."""
        assert self.token
        if self.source.exists():
            self.source.rename(self.directory / "elsewhere")

    def start(self) -> subprocess.Popen[bytes]:
        """Start `dagster job execute` in the image."""
        self.leave()
        options = ["-f", "definitions.py", "-j", FLOW_NAME, "-c", "../config.yaml"]
        return self._start([sys.executable, "-m", "dagster", "job", "execute", *options])

    def reexecute(self, run_id: str, *ops: str) -> subprocess.Popen[bytes]:
        """Start to execute a run again, from its failure or only some ops."""
        config = (self.directory / "config.yaml").read_text()
        return self._start([sys.executable, "-c", _REEXECUTE, run_id, config, *ops])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "output").open("ab") as output:
            worker = subprocess.Popen(
                command,
                cwd=self.image,
                env={
                    **os.environ,
                    **NODE,
                    **self.clients,
                    "DAGSTER_HOME": str(self.home),
                    "DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS": "0.2",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """End what a test that fails has left."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def ended(self, worker: subprocess.Popen[bytes]) -> DagsterRun:
        """The run of a worker, when it has ended by itself."""
        worker.wait(SECONDS_FOR_A_RUN)
        return self.dagster_run()

    def terminated(self, worker: subprocess.Popen[bytes]) -> DagsterRun:
        """The run of a worker that is told to end."""
        worker.send_signal(signal.SIGTERM)
        return self.ended(worker)

    def dagster_run(self, run_id: str | None = None) -> DagsterRun:
        """What Dagster says of a run, by default the latest."""
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.home)) as instance:
            latest = instance.get_run_records(limit=1)[0].dagster_run.run_id
            return dagster_run(instance, run_id or latest)


def different_elsewhere(native: RunSnapshot, other: RunSnapshot) -> list[str]:
    """How two runs differ, save for what says where the flow's file is and how it is decorated."""
    found = differences(native, other)
    return [each for each in found if not each.startswith("_graph_info of ")]


_REEXECUTE = """
import json, sys
from dagster import DagsterInstance, ReexecutionOptions, execute_job
from dagster._core.definitions.reconstruct import ReconstructableJob
with DagsterInstance.get() as instance:
    options = ReexecutionOptions.from_failure(sys.argv[1], instance)
    if sys.argv[3:]:
        options = ReexecutionOptions(sys.argv[1], step_selection=sys.argv[3:])
    job = ReconstructableJob.for_file("definitions.py", "ElsewhereFlow")
    config = json.loads(sys.argv[2])
    with execute_job(job, instance, run_config=config, reexecution_options=options):
        pass
"""
