"""Ops on workers of Celery: two machines that share no disk with each other or with the run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
import redis
import yaml

from tests.docs.pages import block_of
from tests.operated import until
from tests.project import Project, new_project
from tests.services.machine import machine
from tests.services.metadata_service import MetadataService
from tests.services.postgres import postgres_server
from tests.services.reader import Reading, read_elsewhere
from tests.services.redis import Redis, redis_server
from tests.services.s3 import S3
from tests.support import differences, path_with_this_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces"),
]

WORKER = block_of("docs/executors.md", "Celery", "sh").text
SURVIVING = block_of("docs/executors.md", "Celery", "yaml").text
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester"}
MACHINES = ("ash", "oak")
SECONDS = 120  # the longest that a run may take

# A task of `wait` says in Redis where it runs, and waits until it is let go.
FLOW = """
import os, time
from metaflow import FlowSpec, Parameter, current, retry, step
import trees

class ForestFlow(FlowSpec):
    is_waiting = Parameter("waiting", default=False)

    @step
    def start(self):
        self.items = list(range(3))
        self.next(self.grow, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def grow(self):
        print("grown on", os.environ.get("MACHINE"))
        if self.input == 2 and current.retry_count == 0:
            raise ValueError("the first attempt fails")
        time.sleep(1)
        self.size = trees.size(self.input)
        self.next(self.fell)

    @step
    def fell(self, inputs):
        self.sizes = [one.size for one in inputs]
        self.next(self.wait)

    @step
    def wait(self):
        if self.is_waiting:
            import redis
            signals = redis.from_url(os.environ["SIGNALS"])
            signals.rpush("waiting", os.environ["MACHINE"])
            while not signals.exists("go"):
                time.sleep(0.2)
        self.attempt = current.retry_count
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    ForestFlow()
"""
MODULE = """
def size(number):
    return 10 * number
"""


@dataclass
class Forest:
    """The flow, and its machines by their names."""

    project: Project
    redis: Redis
    machines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, object]:
        """What a run has to know of Celery."""
        return {"execution": {"config": {"broker": self.redis.url, "backend": self.redis.url}}}

    @property
    def signals(self) -> Any:
        """What waiting tasks are told by, and tell."""
        return redis.from_url(self.redis.url, decode_responses=True)

    def start_machine(self, name: str, seconds: int = 3600) -> None:
        """Start a worker on a machine without the flow.

        When it starts, it takes over what has been with another one for as many seconds.
        """
        self.configure(seconds)
        options = ["-n", name, "-y", "celery.yaml"]
        variables = {
            "PATH": path_with_this_python(),
            "MACHINE": name,
            "SIGNALS": self.redis.url,
        }
        self.machines[name] = machine(
            self.project.directory,
            ["definitions.py", "celery.yaml"],
            [*shlex.split(WORKER), *options, "--", "--concurrency=2"],
            {**variables, **CREDENTIALS},
            self.project.directory.with_name(f"{name}.log"),
        )
        until(lambda: self._is_ready(name))

    def configure(self, seconds: int) -> None:
        """Write the configuration of the next worker, by which nothing that it does is lost."""
        found = yaml.safe_load(SURVIVING)
        celery = found["execution"]["config"]
        celery.update(broker=self.redis.url, backend=self.redis.url)
        celery["config_source"]["broker_transport_options"] = {"visibility_timeout": seconds}
        (self.project.directory / "celery.yaml").write_text(json.dumps(found))

    def _is_ready(self, name: str) -> bool:
        assert self.machines[name].poll() is None, self.said(name)
        return f"{name}@" in self.said(name) and self.said(name).rstrip().endswith(" ready.")

    def said(self, name: str) -> str:
        """What a machine has written, to where it can see nothing."""
        return self.project.directory.with_name(f"{name}.log").read_text(errors="replace")

    def end_machine(self, name: str) -> None:
        """End all that runs on a machine at once, as when its power fails."""
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.machines.pop(name).wait(10)

    def processes(self, name: str) -> list[psutil.Process]:
        """All processes on a machine, which they have from their environment."""
        return [process for process in psutil.process_iter() if self._is_on(process, name)]

    def processes_of_steps(self) -> list[psutil.Process]:
        """What still runs of any step."""
        everywhere = (one for name in self.machines for one in self.processes(name))
        return [each for each in everywhere if "step" in each.cmdline()]

    def _is_on(self, process: psutil.Process, name: str) -> bool:
        with suppress(psutil.Error):
            environment = process.environ()
            here = environment.get("HOME") == str(self.project.directory)
            return here and environment.get("MACHINE") == name
        return False

    def start_waiting(self) -> tuple[subprocess.Popen[str], str]:
        """Start a run, and tell on which machine its task waits."""
        self.signals.delete("waiting", "go")
        ops = {"op_start": {"config": {"waiting": True}}}
        file = self.project.directory / "run.yaml"
        file.write_text(json.dumps({**self.config, "ops": ops}))
        run = self.project.start("-c", file.name)
        return run, until(lambda: self.signals.lpop("waiting"))

    def read(self, run_id: str) -> Reading:
        """What Metaflow's client says of a run."""
        return read_elsewhere(f"ForestFlow/{run_id}", self.project.variables)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Forest]:
    directory = tmp_path_factory.mktemp("forest") / "project"
    directory.mkdir()
    (directory / "trees.py").write_text(MODULE)
    service = MetadataService()
    with postgres_server() as postgres, redis_server(directory.parent) as server, service.serving():
        settings = {
            **CREDENTIALS,
            **s3.settings,
            "METAFLOW_DEFAULT_METADATA": "service",
            "METAFLOW_SERVICE_URL": service.url,
        }
        options = ["--executor=celery", "--package", "--workflow-priority=2"]
        project = new_project(directory, "ForestFlow", FLOW, *options, **settings)
        instance = {"telemetry": {"enabled": False}, **postgres.storage}
        (project.home / "dagster.yaml").write_text(json.dumps(instance))
        forest = Forest(project, server)
        try:
            for name in MACHINES:
                forest.start_machine(name)
            yield forest
        finally:
            for name in list(forest.machines):
                forest.end_machine(name)


def test_machines_share_the_work(forest: Forest) -> None:
    id_file = forest.project.directory / "native"
    forest.project.metaflow("--quiet", "run", f"--run-id-file={id_file}")
    native = forest.read(id_file.read_text())
    run = forest.project.run(config=forest.config)
    assert run.succeeded, run.failures
    reading = forest.read(run.metaflow_run_id)
    found = differences(native.snapshot, reading.snapshot)
    # The run is a deployed job's; and it had its code from somewhere else.
    assert [each for each in found if not each.startswith(("system tags", "_graph_info"))] == []
    said = {line for task in reading.snapshot.tasks["grow"].values() for line in task.stdout}
    assert said == {f"grown on {name}" for name in MACHINES}
    assert reading.failed_attempts


def test_process_of_a_celery_worker_is_killed(forest: Forest) -> None:
    """The step is ended with it, and runs again, if Celery is told to acknowledge late."""
    run, name = forest.start_waiting()
    (step,) = (process for process in forest.processes(name) if "wait" in process.cmdline())
    worker = step.parent()
    assert worker is not None
    worker.kill()
    psutil.wait_procs([step], 10)
    assert not step.is_running()
    forest.signals.set("go", "now")
    assert_carried_on(forest, run)


def test_machine_of_a_celery_worker_is_lost(forest: Forest) -> None:
    """What ran on it runs again on another one, if Celery is told to acknowledge late."""
    run, name = forest.start_waiting()
    forest.end_machine(name)
    forest.signals.set("go", "now")
    time.sleep(2)
    forest.start_machine(name, 1)
    assert_carried_on(forest, run)


def assert_carried_on(forest: Forest, run: subprocess.Popen[str]) -> None:
    """The run succeeds, and its task after another attempt."""
    assert run.wait(SECONDS) == 0
    record = forest.project.dagster_run()
    assert record.succeeded
    snapshot = forest.read(record.metaflow_run_id).snapshot
    assert snapshot.successful
    (task,) = snapshot.tasks["wait"].values()
    assert task.artifacts["attempt"] == 1
    assert forest.processes_of_steps() == []
