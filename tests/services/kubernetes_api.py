"""The part of Kubernetes' API that Metaflow and Dagster use; jobs run as processes of this machine.

What it answers follows https://kubernetes.io/docs/reference/kubernetes-api, as far as Metaflow's
`kubernetes step` (metaflow/plugins/kubernetes/kubernetes_job.py) and Dagster's executor
(dagster_k8s/client.py) read it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.services.containers import Container
from tests.services.web import Reply, Request, WebServer, route

JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
PODS = "/api/v1/namespaces/{namespace}/pods"
NOT_FOUND = Reply({"kind": "Status", "status": "Failure", "message": "not found"}, 404)
CONFLICT = Reply({"kind": "Status", "status": "Failure", "reason": "AlreadyExists"}, 409)


@dataclass
class Job:
    """A job that was created, and the only container of its only pod."""

    body: dict[str, Any]
    container: Container
    is_deleted: bool = False

    @property
    def name(self) -> str:
        name: str = self.body["metadata"]["name"]
        return name

    @property
    def pod_name(self) -> str:
        return f"{self.name}-pod"


class KubernetesApi(WebServer):
    """A cluster with room for everything.

    `node` is the environment that all containers find, such as the credentials of a role;
    `directory` keeps what is left of the containers. `secrets` are variables by name of secret.
    `image` is the directory in which containers find the files of their image. Jobs are kept when
    they are deleted, but nobody is told of them.
    """

    def __init__(
        self,
        directory: Path,
        node: Mapping[str, str],
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        image: Path | None = None,
    ) -> None:
        super().__init__()
        self.image = image
        self._secrets = secrets or {}
        self.jobs: list[Job] = []
        self._directory = directory
        self._node = node
        self._numbers = itertools.count(1)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be there, at `url`, for a while; whatever still runs is ended with it."""
        with super().serving():
            try:
                yield
            finally:
                for job in self.jobs:
                    job.container.stop()

    def write_kubeconfig(self, path: Path) -> None:
        """Write the file that KUBECONFIG names (JSON is YAML)."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "tester"}}],
        }
        path.write_text(json.dumps(config))

    @route("POST", JOBS)
    def create_job(self, request: Request) -> Reply:
        number = next(self._numbers)
        metadata = request.body["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{number:05}"
        if self._job(metadata["name"]) is not None:
            return CONFLICT
        metadata.update(namespace=request.names[0], uid=f"job-uid-{number}")
        request.body["spec"].setdefault("parallelism", 1)
        (container,) = request.body["spec"]["template"]["spec"]["containers"]
        environment = {
            **self._node,
            **self._secret_variables(container),
            **_environment(container, metadata),
        }
        directory = self._directory / f"{number}-{metadata['name']}"
        command = [*container.get("command", ()), *container.get("args", ())]
        started = Container(directory, request.body, command, environment, self.image)
        job = Job(request.body, started)
        self.jobs.append(job)
        return Reply(_job_object(job), 201)

    def _secret_variables(self, container: Mapping[str, Any]) -> dict[str, str]:
        """The variables of a container that are not in its description."""
        names = [each["secretRef"]["name"] for each in container.get("envFrom", ())]
        return {key: value for name in names for key, value in self._secrets[name].items()}

    def _job(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.name == name and not job.is_deleted), None)

    @route("GET", f"{JOBS}/{{name}}", f"{JOBS}/{{name}}/status")
    def read_job(self, request: Request) -> Reply:
        job = self._job(request.names[1])
        return Reply(_job_object(job)) if job else NOT_FOUND

    @route("DELETE", f"{JOBS}/{{name}}")
    def delete_job(self, request: Request) -> Reply:
        """Forget a job; its pod is an orphan then, which runs on."""
        job = self._job(request.names[1])
        if job is None:
            return NOT_FOUND
        job.is_deleted = True
        return Reply({"kind": "Status", "status": "Success"})

    @route("DELETE", f"{PODS}/{{name}}")
    def delete_pod(self, request: Request) -> Reply:
        """Let a pod end, which has half a minute for that."""
        for job in self.jobs:
            if job.pod_name == request.names[1] and job.container.exit_code is None:
                job.container.ask_to_end()
                return Reply(_pod_object(job))
        return NOT_FOUND

    @route("PATCH", f"{JOBS}/{{name}}")
    def patch_job(self, request: Request) -> Reply:
        """Let a job have no pod, which is how Metaflow ends one."""
        job = self._job(request.names[1])
        if job is None:
            return NOT_FOUND
        job.body["spec"].update(request.body["spec"])
        job.container.stop()
        return Reply(_job_object(job))

    @route("GET", PODS)
    def list_pods(self, request: Request) -> Reply:
        selector = request.query.get("labelSelector", "")
        pods = [_pod_object(job) for job in self.jobs if selector in ("", f"job-name={job.name}")]
        return Reply({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})


def _environment(container: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container, with those that speak of its pod."""
    fields = {
        "metadata.namespace": metadata["namespace"],
        "metadata.name": f"{metadata['name']}-pod",
        "metadata.uid": f"{metadata['uid']}-pod",
        "spec.serviceAccountName": "default",
        "status.hostIP": "127.0.0.1",
    }
    return {
        variable["name"]: variable["value"]
        if "value" in variable
        else fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container.get("env", ())
    }


def _job_object(job: Job) -> dict[str, Any]:
    code = job.container.exit_code
    status = {None: {"active": 1}, 0: {"succeeded": 1}}.get(code, {"failed": 1})
    return {**job.body, "status": status}


def _pod_object(job: Job) -> dict[str, Any]:
    code = job.container.exit_code
    started = _time(job.container.started_at)
    (container,) = job.body["spec"]["template"]["spec"]["containers"]
    running = {"startedAt": started}
    terminated = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": started,
        "finishedAt": _time(time.time()),
    }
    status = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": code is None,
        "restartCount": 0,
        "state": {"running": running} if code is None else {"terminated": terminated},
    }
    metadata = job.body["metadata"]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            **job.body["spec"]["template"]["metadata"],
            "name": job.pod_name,
            "namespace": metadata["namespace"],
            "uid": f"{metadata['uid']}-pod",
        },
        "spec": job.body["spec"]["template"]["spec"],
        "status": {
            "phase": {None: "Running", 0: "Succeeded"}.get(code, "Failed"),
            "startTime": started,
            "containerStatuses": [status],
        },
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
