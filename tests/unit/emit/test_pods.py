"""The tags of jobs whose ops have pods, as the executors that start them read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan
from dagster._core.system_config.objects import ResolvedRunConfig

from metaflow_dagster.ir.flow import Flow, Pod
from metaflow_dagster.options import Options
from tests.docs.pages import block_of, file_of
from tests.services.kubernetes_api import KubernetesApi
from tests.unit.samples import emitted, job_of, linear_flow, loaded

pytestmark = pytest.mark.slow

RESOURCES = {"requests": {"cpu": "2"}, "limits": {}}


def with_pod(flow: Flow) -> Flow:
    pod = Pod(container=(("image", "own:1"), ("resources", RESOURCES)))
    start, *others = flow.steps
    return replace(flow, steps=(replace(start, pod=pod), *others))


def job_for(executor: str) -> Any:
    options = Options(executor=executor, workflow_priority=7)
    return job_of(loaded(emitted(with_pod(linear_flow()), options)))


@pytest.mark.parametrize("executor", ["k8s", "celery_k8s"])
def test_steps_have_the_configuration_of_their_pods(executor: str) -> None:
    from dagster_k8s.job import get_user_defined_k8s_config

    plan = create_execution_plan(job_for(executor))
    found = {step.key: get_user_defined_k8s_config(step.tags) for step in plan.steps}
    assert found["op_start"].container_config == {"image": "own:1", "resources": RESOURCES}
    assert found["op_end"].container_config == {}


def test_celery_takes_the_priority_of_the_run() -> None:
    from dagster_celery.core_execution_loop import _get_run_priority

    tags = job_for("celery_k8s").run_tags
    context = SimpleNamespace(has_tag=tags.__contains__, get_tag=tags.__getitem__)
    assert _get_run_priority(context) == 7


LAUNCHER = """
telemetry: {{enabled: false}}
run_launcher:
  module: dagster_celery_k8s
  class: CeleryK8sRunLauncher
  config:
    dagster_home: {home}
    instance_config_map: instance
    postgres_password_secret: password
    broker: pyamqp://guest@127.0.0.1//
    load_incluster_config: false
    kubeconfig_file: {home}/kubeconfig
"""


def test_the_executor_is_that_of_celery_on_kubernetes(tmp_path: Path) -> None:
    from dagster._core.executor.init import InitExecutorContext
    from dagster_celery_k8s.executor import CeleryK8sJobExecutor

    (tmp_path / "dagster.yaml").write_text(LAUNCHER.format(home=tmp_path))
    KubernetesApi(tmp_path / "pods", {}).write_kubeconfig(tmp_path / "kubeconfig")
    job = job_for("celery_k8s")
    config = {"job_image": "flows:1", "load_incluster_config": False, "retries": {"enabled": {}}}
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        context = InitExecutorContext(
            job=InMemoryJob(job),
            executor_def=job.executor_def,
            executor_config={"job_wait_timeout": 60.0, **config},
            instance=instance,
        )
        executor = job.executor_def.executor_creation_fn(context)
    assert isinstance(executor, CeleryK8sJobExecutor)
    assert executor.job_config.job_image == "flows:1"
    assert executor.broker == "pyamqp://guest@127.0.0.1//"


def test_the_executor_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = file_of("docs/executors.md", "platform_executors.py")
    (tmp_path / "platform_executors.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    job = job_for("platform_executors:in_our_network")
    config = ResolvedRunConfig.build(job, {}).execution.execution_engine_config
    assert job.executor_def.name == "docker"
    assert config["networks"] == ["flows"]


def test_the_configuration_of_a_run_in_the_docs() -> None:
    config = yaml.safe_load(block_of("docs/executors.md", "Configuring `k8s`", "yaml").text)
    taken = ResolvedRunConfig.build(job_for("k8s"), config).execution.execution_engine_config
    assert config["execution"]["config"].items() <= taken.items()
