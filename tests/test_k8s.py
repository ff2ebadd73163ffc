"""The executor for Kubernetes: ops have pods of their own, which the stand-in of its API runs.

One Metaflow run is told of here: Dagster runs it, its last pod is killed, and retried; the run is
terminated, and executed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.elsewhere import FLOW_NAME, IMAGE, NODE, SECRETS, Elsewhere, different_elsewhere
from tests.operated import until
from tests.services.containers import Container
from tests.services.kubernetes_api import Job, KubernetesApi
from tests.services.metadata_service import MetadataService
from tests.services.reader import Reading
from tests.services.s3 import S3
from tests.support import DagsterRun, log_differences

pytestmark = pytest.mark.slow


@dataclass
class Cluster:
    """A flow with its runs on a cluster; `node` is the environment of all containers."""

    place: Elsewhere
    api: KubernetesApi
    node: dict[str, str] = field(default_factory=dict)

    def waiting(self) -> Container:
        """The container of a last step that waits, once there is one."""
        found: Container = until(lambda: next(self._waiting(), None))
        return found

    def _waiting(self) -> Iterator[Container]:
        for job in self.api.jobs:
            container = job.container
            if container.exit_code is None and "waiting" in container.output.splitlines():
                yield container


@pytest.fixture(scope="module")
def service() -> Iterator[MetadataService]:
    service = MetadataService()
    with service.serving():
        yield service


def cluster_for(
    directory: Path, s3: S3, service: MetadataService, *options: str
) -> Iterator[Cluster]:
    """A cluster, and a flow that is compiled for it."""
    node = dict(NODE)
    api = KubernetesApi(directory / "pods", node, SECRETS, directory / "image")
    with api.serving():
        kubeconfig = directory / "kubeconfig"
        api.write_kubeconfig(kubeconfig)
        access = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
        launcher = {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "service_account_name": "dagster",
                "instance_config_map": "dagster-instance",
                "dagster_home": str(directory / "dagster"),
                **access,
            },
        }
        place = Elsewhere(
            directory,
            s3,
            service,
            {"KUBECONFIG": str(kubeconfig)},
            ("--executor=k8s", *options),
            {"job_image": IMAGE, "job_namespace": "flows", **access},
            {"run_launcher": launcher},
        )
        with closing(place):
            yield Cluster(place, api, node)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, s3: S3, service: MetadataService
) -> Iterator[Cluster]:
    options = ("--package", "--max-workers=2", "--tag=team:search")
    yield from cluster_for(tmp_path_factory.mktemp("k8s"), s3, service, *options)


@pytest.fixture(scope="module")
def native(cluster: Cluster) -> Reading:
    """The run by Metaflow's own scheduler."""
    return cluster.place.native


@pytest.fixture(scope="module")
def terminated(cluster: Cluster, native: Reading) -> DagsterRun:
    """The first run: its last pod is killed, and it is told to end when there is another."""
    assert native.snapshot.successful
    cluster.node["GATE"] = str(cluster.place.directory / "gate")
    worker = cluster.place.start()
    until(lambda: len(cluster.api.jobs) > 3)
    cluster.waiting().stop()
    cluster.waiting()
    return cluster.place.terminated(worker)


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, terminated: DagsterRun) -> list[Job]:
    """The jobs of the first run."""
    return list(cluster.api.jobs)


@pytest.fixture(scope="module")
def finished(cluster: Cluster, terminated: DagsterRun, jobs: list[Job]) -> DagsterRun:
    """The run that carries on after that, to the end."""
    Path(cluster.node["GATE"]).touch()
    return cluster.place.ended(cluster.place.reexecute(terminated.dagster_run_id))


def test_a_pod_for_each_op_and_no_other(jobs: list[Job]) -> None:
    ops = Counter(_labels(job)["dagster/op"].rstrip("-01") for job in jobs)
    assert ops == {"op_start": 1, "op_square": 3, "op_join": 1, "op_end": 2}
    for job in jobs:
        assert _of(job)["args"][:3] == ["dagster", "api", "execute_step"]


def test_pods_are_as_the_decorators_ask(jobs: list[Job]) -> None:
    start, *_ = jobs
    assert _of(start)["resources"] == {"requests": {"cpu": "2", "memory": "300M"}}
    assert _of(start)["image"] == IMAGE
    squares = [job for job in jobs if "op_square" in _labels(job)["dagster/op"]]
    for job in squares:
        assert _of(job)["resources"]["requests"]["cpu"] == "3"
        assert _of(job)["image"] == "registry.example.org/squares:2"
        assert _of(job)["envFrom"][-1:] == [{"secretRef": {"name": "words"}}]
        assert _labels(job)["example.org/team"] == "search"
        assert _labels(job)["dagster/run-id"]
        assert job.body["metadata"]["namespace"] == "flows"


def test_every_pod_has_fetched_the_code(cluster: Cluster, jobs: list[Job]) -> None:
    assert not cluster.place.source.exists()
    for job in jobs:
        assert list(job.container.directory.glob("work/metaflow-dagster-*/*/elsewhere_flow.py"))


def test_pod_of_an_op_is_killed(terminated: DagsterRun, jobs: list[Job]) -> None:
    """Under `--executor k8s`: Dagster notices within half a minute that it is gone. That attempt
    has failed, and is retried as often as `@retry` says.
    """
    *_, killed, again = jobs
    assert killed.container.exit_code == 137
    assert again.name == f"{killed.name}-1"
    attempts = [command for command in terminated.commands if " step end " in command]
    assert ["--retry-count=0" in attempts[0], "--retry-count=1" in attempts[1]] == [True, True]


def test_run_with_pods_is_terminated(
    cluster: Cluster, terminated: DagsterRun, jobs: list[Job]
) -> None:
    """Its jobs are deleted, its steps end, and it can be carried on like any other."""
    assert not terminated.succeeded
    assert [job for job in jobs if job.is_deleted] == jobs[-1:]
    until(lambda: not jobs[-1].container.processes)
    # The op has told what became of it after the run was over.
    told = cluster.place.dagster_run(terminated.dagster_run_id)
    assert told.statuses["op_end"] == "FAILURE"


def test_the_same_metaflow_run_is_carried_on(terminated: DagsterRun, finished: DagsterRun) -> None:
    assert finished.succeeded, finished.failures
    assert finished.metaflow_run_id == terminated.metaflow_run_id
    assert list(finished.statuses) == ["op_end"]
    assert "--retry-count=2" in finished.commands[-1]


def test_leaves_the_same_tasks_artifacts_and_logs(
    cluster: Cluster, native: Reading, finished: DagsterRun
) -> None:
    snapshot = cluster.place.read(finished.metaflow_run_id).snapshot
    assert snapshot.successful
    assert different_elsewhere(native.snapshot, snapshot) == []
    snapshot.tasks["end"][()].stdout.remove("waiting")  # type: ignore[attr-defined]
    assert log_differences(native.snapshot, snapshot) == []


def _of(job: Job) -> Any:
    """The only container of a job, as it was asked for."""
    (container,) = job.body["spec"]["template"]["spec"]["containers"]
    return container


def _labels(job: Job) -> dict[str, str]:
    """The labels of a job's pod, which are those of the job."""
    labels: dict[str, str] = job.body["spec"]["template"]["metadata"]["labels"]
    assert labels == job.body["metadata"]["labels"]
    return labels


@pytest.fixture(scope="module")
def unpacked(
    tmp_path_factory: pytest.TempPathFactory, s3: S3, service: MetadataService
) -> Iterator[Cluster]:
    """A cluster, and a flow whose code is not stored."""
    yield from cluster_for(tmp_path_factory.mktemp("unpacked"), s3, service)


def test_without_code_and_package_it_is_said_what_to_do(unpacked: Cluster) -> None:
    variable = f"METAFLOW_DAGSTER_FLOW_FILE_{FLOW_NAME}"
    failed = unpacked.place.ended(unpacked.place.start())
    assert not failed.succeeded
    assert any(variable in failure for failure in failed.failures), failed.failures
    # An image may have the flow somewhere else.
    unpacked.node[variable] = str(unpacked.place.directory / "elsewhere" / "elsewhere_flow.py")
    again = unpacked.place.reexecute(failed.dagster_run_id, "op_start")
    run = unpacked.place.ended(again)
    assert run.succeeded, run.failures
    assert run.statuses == {"op_start": "SUCCESS"}
