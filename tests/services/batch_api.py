"""The part of AWS Batch's API that Metaflow uses; jobs run as processes of this machine.

What it answers follows https://docs.aws.amazon.com/batch/latest/APIReference, as far as Metaflow's
`batch step` reads it (metaflow/plugins/aws/batch/batch_client.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.containers import Container
from tests.services.web import Reply, Request, WebServer, route

QUEUE = "queue"
COMPUTE_ENVIRONMENT = "computers"


@dataclass
class Job:
    """A job that was submitted, and its container."""

    id: str
    body: dict[str, Any]
    container: Container
    stopped_at: float = 0

    def describe(self) -> dict[str, Any]:
        """What DescribeJobs says of it."""
        code = self.container.exit_code
        if code is not None and not self.stopped_at:
            self.stopped_at = time.time()
        container: dict[str, Any] = {} if code is None else {"exitCode": code}
        if code:
            container["reason"] = f"Essential container in task exited with {code}"
        return {
            "jobId": self.id,
            "jobName": self.body["jobName"],
            "jobQueue": self.body["jobQueue"],
            "jobDefinition": self.body["jobDefinition"],
            "status": {None: "RUNNING", 0: "SUCCEEDED"}.get(code, "FAILED"),
            "createdAt": int(self.container.started_at * 1000),
            "startedAt": int(self.container.started_at * 1000),
            "stoppedAt": int(self.stopped_at * 1000),
            "container": container,
        }


class BatchApi(WebServer):
    """A queue in front of computers that are always free.

    `node` is the environment that all containers find, such as the credentials of a role;
    `directory` keeps what is left of the containers.
    """

    def __init__(self, directory: Path, node: Mapping[str, str]) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.definitions: dict[str, dict[str, Any]] = {}
        self._directory = directory
        self._node = node

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be there, at `url`, for a while; whatever still runs is ended with it."""
        with super().serving():
            try:
                yield
            finally:
                for job in self.jobs.values():
                    job.container.stop()

    @property
    def access(self) -> Mapping[str, str]:
        """What boto3 takes from the environment to find this."""
        return {"AWS_ENDPOINT_URL_BATCH": self.url, "AWS_DEFAULT_REGION": "us-east-1"}

    @property
    def settings(self) -> Mapping[str, str]:
        """Metaflow's settings with which jobs go to this queue."""
        return {
            "METAFLOW_BATCH_JOB_QUEUE": QUEUE,
            "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": "arn:aws:iam::123456789012:role/tasks",
        }

    @route("POST", "/v1/describejobqueues")
    def describe_job_queues(self, request: Request) -> Reply:
        order = [{"order": 1, "computeEnvironment": COMPUTE_ENVIRONMENT}]
        queue = {
            "jobQueueName": QUEUE,
            "jobQueueArn": f"arn:aws:batch:us-east-1:123456789012:job-queue/{QUEUE}",
            "state": "ENABLED",
            "status": "VALID",
            "priority": 1,
            "computeEnvironmentOrder": order,
        }
        return Reply({"jobQueues": [queue]})

    @route("POST", "/v1/describecomputeenvironments")
    def describe_compute_environments(self, request: Request) -> Reply:
        resources = {"type": "EC2", "maxvCpus": 256, "subnets": []}
        environment = {
            "computeEnvironmentName": COMPUTE_ENVIRONMENT,
            "computeEnvironmentArn": f"arn:aws:batch:::compute-environment/{COMPUTE_ENVIRONMENT}",
            "computeResources": resources,
        }
        return Reply({"computeEnvironments": [environment]})

    @route("POST", "/v1/describejobdefinitions")
    def describe_job_definitions(self, request: Request) -> Reply:
        found = self.definitions.get(request.body["jobDefinitionName"])
        return Reply({"jobDefinitions": [found] if found else []})

    @route("POST", "/v1/registerjobdefinition")
    def register_job_definition(self, request: Request) -> Reply:
        name = request.body["jobDefinitionName"]
        arn = f"arn:aws:batch:us-east-1:123456789012:job-definition/{name}:1"
        self.definitions[name] = {**request.body, "jobDefinitionArn": arn, "revision": 1}
        return Reply({"jobDefinitionName": name, "jobDefinitionArn": arn, "revision": 1})

    @route("POST", "/v1/submitjob")
    def submit_job(self, request: Request) -> Reply:
        job_id = f"job-{len(self.jobs) + 1}"
        overrides = request.body["containerOverrides"]
        environment = {
            **self._node,
            **{variable["name"]: variable["value"] for variable in overrides["environment"]},
            "AWS_BATCH_JOB_ID": job_id,
            "AWS_BATCH_JOB_ATTEMPT": "1",
            "AWS_BATCH_CE_NAME": COMPUTE_ENVIRONMENT,
            "AWS_BATCH_JQ_NAME": QUEUE,
            "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        }
        container = Container(
            self._directory / job_id, request.body, overrides["command"], environment
        )
        self.jobs[job_id] = Job(job_id, request.body, container)
        return Reply({"jobId": job_id, "jobName": request.body["jobName"]})

    @route("POST", "/v1/describejobs")
    def describe_jobs(self, request: Request) -> Reply:
        found = [self.jobs[job_id] for job_id in request.body["jobs"] if job_id in self.jobs]
        return Reply({"jobs": [job.describe() for job in found]})

    @route("POST", "/v1/terminatejob")
    def terminate_job(self, request: Request) -> Reply:
        self.jobs[request.body["jobId"]].container.stop()
        return Reply({})
