"""Steps that Metaflow sends elsewhere: the stand-ins of Kubernetes and Batch do what is needed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.golden import FIXTURES
from tests.services.batch_api import BatchApi
from tests.services.containers import Container
from tests.services.kubernetes_api import KubernetesApi
from tests.services.reader import Reading, read_elsewhere
from tests.services.s3 import BUCKET, S3
from tests.support import DagsterRun, checked, dagster_run, differences

pytestmark = pytest.mark.slow

# Who starts a container has them, and so has whoever reads; they are not passed on by Metaflow.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester"}
SECONDS_FOR_A_RUN = 200
OUTPUT = "remote_dagster.py"


EVENT = {"name": "$(orders)", "id": "a,b=c'", "timestamp": 1, "type": "event"}


@dataclass
class Remote:
    """A flow whose step runs elsewhere, in a directory of its own."""

    place: str  # as Metaflow calls it in the container
    flow_name: str
    flow_file: str
    directory: Path
    settings: Mapping[str, str]
    access: Mapping[str, str]  # what the clients of the API take from the environment
    api: KubernetesApi | BatchApi

    def __post_init__(self) -> None:
        shutil.copytree(FIXTURES / "remote", self.directory / "flows")
        (self.directory / ".metaflow").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What is known where one develops."""
        return {**os.environ, **CREDENTIALS, **self.settings}

    @property
    def containers(self) -> Sequence[Container]:
        """All that were started, oldest first."""
        jobs = self.api.jobs.values() if isinstance(self.api, BatchApi) else self.api.jobs
        return [job.container for job in jobs]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the flow."""
        return subprocess.run(
            [sys.executable, self.flow_file, *arguments],
            cwd=self.directory / "flows",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_FOR_A_RUN,
        )

    @cached_property
    def native(self) -> Reading:
        """The run by `python flow.py run`."""
        id_file = self.directory / "run-id"
        result = self.run("run", f"--run-id-file={id_file}")
        assert result.returncode == 0, result.stdout
        return self.read(id_file.read_text())

    @cached_property
    def run_by_dagster(self) -> DagsterRun:
        """The run by Dagster, where of the backend only the credentials are known."""
        from dagster import DagsterInstance

        result = self.run("dagster", "create", OUTPUT)
        assert result.returncode == 0, result.stdout
        home = self.directory / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        tags = json.dumps({"metaflow/triggers": json.dumps([EVENT])})
        options = ["-f", OUTPUT, "-j", self.flow_name, "--tags", tags]
        checked(
            [sys.executable, "-m", "dagster", "job", "execute", *options],
            self.directory / "flows",
            **{**CREDENTIALS, **self.access, "DAGSTER_HOME": str(home)},
        )
        with DagsterInstance.from_config(str(home)) as instance:
            (record,) = instance.get_run_records()
            return dagster_run(instance, record.dagster_run.run_id)

    def read(self, run_id: str) -> Reading:
        """Read a run where one develops."""
        local = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.directory)}
        return read_elsewhere(f"{self.flow_name}/{run_id}", {**self.environment, **local})


def _kubernetes(directory: Path, s3: S3) -> Iterator[Remote]:
    api = KubernetesApi(directory / "pods", CREDENTIALS)
    with api.serving():
        api.write_kubeconfig(directory / "kubeconfig")
        access = {"KUBECONFIG": str(directory / "kubeconfig")}
        names = ("kubernetes", "KubernetesFlow", "kubernetes_flow.py")
        yield Remote(*names, directory, {**s3.settings, **access}, access, api)


def _batch(directory: Path, s3: S3) -> Iterator[Remote]:
    api = BatchApi(directory / "containers", CREDENTIALS)
    with api.serving():
        names = ("aws-batch", "BatchFlow", "batch_flow.py")
        settings = {**s3.settings, **api.settings, **api.access}
        yield Remote(*names, directory, settings, api.access, api)


@pytest.fixture(scope="module", params=[_kubernetes, _batch], ids=["kubernetes", "batch"])
def remote(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, s3: S3
) -> Iterator[Remote]:
    """A flow with a step on each of the stand-ins; its run is the same one for all tests."""
    yield from request.param(tmp_path_factory.mktemp("remote"), s3)


def test_the_step_runs_in_a_container(remote: Remote) -> None:
    snapshot = remote.native.snapshot
    (join,) = snapshot.tasks["join"].values()
    assert snapshot.successful is True
    assert join.artifacts["cubes"] == [0, 1]
    assert join.artifacts["places"] == [remote.place, remote.place]
    assert f"cubed 0 at {remote.place} in attempt 0" in snapshot.tasks["cube"][0,].stdout


def test_a_container_that_fails_is_retried(remote: Remote) -> None:
    (failed,) = remote.native.failed_attempts
    assert "ValueError: the first attempt fails" in failed
    assert sorted(container.exit_code or 0 for container in remote.containers) == [0, 0, 1]
    assert "in attempt 1" in "".join(remote.native.snapshot.tasks["cube"][1,].stdout)


def test_the_command_and_its_package_are_kept(remote: Remote, s3: S3) -> None:
    assert remote.native.snapshot.successful
    steps = [_step_command(container) for container in remote.containers]
    assert all(f"{remote.flow_file} --quiet" in command for command in steps)
    assert sorted(_option("--retry-count", command) for command in steps) == ["0", "0", "1"]
    for container in remote.containers:
        assert (container.directory / "job.json").exists()
        url = container.environment["METAFLOW_CODE_URL"]
        assert {remote.flow_file, "cubes.py"} <= _names_in_package(s3, url)


def test_dagster_sends_the_step_to_the_same_place(remote: Remote) -> None:
    native = remote.native.snapshot
    sent_natively = [_step_command(container) for container in remote.containers]
    assert remote.run_by_dagster.succeeded, remote.run_by_dagster.failures
    snapshot = remote.read(remote.run_by_dagster.metaflow_run_id).snapshot
    assert differences(native, snapshot) == []
    sent_by_dagster = [
        _step_command(container) for container in remote.containers[len(sent_natively) :]
    ]
    # This tells Metaflow what Dagster knows.
    extra = ["--with", "dagster_internal:known="]
    expected = [sorted([*_without_ids(command), *extra]) for command in sent_natively]
    assert sorted(map(_without_ids, sent_by_dagster)) == sorted(expected)
    assert all("--namespace production:" in command for command in sent_by_dagster)


def test_the_container_knows_what_dagster_knows(remote: Remote) -> None:
    run = remote.run_by_dagster
    snapshot = remote.read(run.metaflow_run_id).snapshot
    said = [task.stdout for task in snapshot.tasks["cube"].values()]
    assert all("triggered by $(orders)" in stdout for stdout in said)
    assert len(said) == 2


def _without_ids(command: str) -> list[str]:
    """The words of a command that do not say which run or task it is for, and whose."""
    own = r"--(run-id|task-id|input-paths|namespace)[ =]\S+"
    return sorted(re.sub(own, "", re.sub(r"(:known=)\S+", r"\1", command)).split())


def _step_command(container: Container) -> str:
    """The command of the flow in the script that a container runs."""
    match = re.search(r"python -u \w+_flow\.py [^)]*? step cube [^)]*", container.command[-1])
    assert match is not None
    return match[0]


def _option(name: str, command: str) -> str:
    match = re.search(rf"{name}[ =](\S+)", command)
    assert match is not None, command
    return match[1]


def _names_in_package(s3: S3, url: str) -> set[str]:
    key = url.removeprefix(f"s3://{BUCKET}/")
    package = s3.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return set(archive.getnames())
