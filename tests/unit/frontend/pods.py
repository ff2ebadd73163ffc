"""The pods that Metaflow makes of a step's decorators, beside those that Dagster makes of the tag.

python -m tests.unit.frontend.pods JSON    prints how they differ, for some decorators
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from metaflow_dagster.emit.op import POD_TAG, pod_config
from metaflow_dagster.ir.flow import End, Location, Pod, Step

# What the executor is configured with, for those who do not ask for anything else.
DAGSTER_IMAGE = "registry/with-dagster:1"
DAGSTER_PULL_POLICY = "Never"


def decorators(
    kubernetes: Mapping[str, Any] | None, resources: Mapping[str, Any] | None
) -> list[Any]:
    """Metaflow's decorators, initialised as for a flow whose datastore is S3."""
    from metaflow.plugins.kubernetes.kubernetes_decorator import KubernetesDecorator
    from metaflow.plugins.resources_decorator import ResourcesDecorator

    found: list[Any] = []
    if resources is not None:
        found.append(ResourcesDecorator(attributes=dict(resources), statically_defined=True))
    if kubernetes is not None:
        found.append(KubernetesDecorator(attributes=dict(kubernetes), statically_defined=True))
    for each in found:
        each.external_init()
    for each in found:
        each.step_init(None, None, "fit", found, None, SimpleNamespace(TYPE="s3"), None)
    return found


def pod_of(found: list[Any], is_parallel: bool = False) -> Pod:
    """What the frontend makes of the decorators of a step."""
    from metaflow_dagster.frontend.decorators import decorated_step

    node: Any = SimpleNamespace(
        decorators=found, wrappers=[], config_decorators=[], parallel_step=is_parallel
    )
    pod = decorated_step(node, Step("fit", End(), (), Location("flow.py", 1))).pod
    assert pod is not None
    return pod


def by_metaflow(found: list[Any]) -> dict[str, Any]:
    """The job that `kubernetes step` makes of the decorator, by the command line it gets."""
    from kubernetes import client
    from metaflow.metaflow_config import KUBERNETES_SECRETS
    from metaflow.plugins.kubernetes.kube_utils import parse_kube_keyvalue_list
    from metaflow.plugins.kubernetes.kubernetes_cli import step
    from metaflow.plugins.kubernetes.kubernetes_job import KubernetesJob

    assert KUBERNETES_SECRETS is not None
    context = step.make_context("step", _command_line(found))
    given: dict[str, Any] = {**context.params, "image": context.params["image"]}
    job = KubernetesJob(
        SimpleNamespace(get=lambda: client),
        **{
            **{name: given[name] for name in _PASSED_ON if name in given},
            "node_selector": parse_kube_keyvalue_list(given["node_selector"]),
            "namespace": given["k8s_namespace"],
            "timeout_in_seconds": given["run_time_limit"],
            "generate_name": "t-",
            "step_name": "fit",
            "command": ["true"],
        },
    )
    plain: dict[str, Any] = client.ApiClient().sanitize_for_serialization(job.create()._job)
    return plain


# metaflow/plugins/kubernetes/kubernetes.py: create_job_object; not every release has all of them.
_PASSED_ON = (
    "annotations",
    "cpu",
    "disk",
    "extended_resources",
    "gpu",
    "gpu_vendor",
    "image",
    "image_pull_policy",
    "image_pull_secrets",
    "labels",
    "memory",
    "persistent_volume_claims",
    "port",
    "qos",
    "secrets",
    "security_context",
    "service_account",
    "shared_memory",
    "tmpfs_path",
    "tmpfs_size",
    "tolerations",
    "use_tmpfs",
)


def _command_line(found: list[Any]) -> list[str]:
    """The arguments by which Metaflow's runtime starts `kubernetes step`."""
    from metaflow.util import dict_to_cli_options

    (decorator,) = [each for each in found if each.name == "kubernetes"]
    decorator.package_metadata = decorator.package_sha = decorator.package_url = "package"
    line = SimpleNamespace(commands=[], command_args=["fit"], command_options={}, entrypoint=[""])
    decorator.runtime_step_cli(line, 0, 0, None)
    options = shlex.split(" ".join(dict_to_cli_options(line.command_options)))
    return [*line.command_args, *options]


def by_dagster(pod: Pod) -> dict[str, Any]:
    """The job that Dagster makes of an op with the tag."""
    from dagster_k8s.job import (
        DagsterK8sJobConfig,
        construct_dagster_k8s_job,
        get_user_defined_k8s_config,
    )
    from kubernetes import client

    config = get_user_defined_k8s_config({POD_TAG: json.dumps(pod_config(pod))})
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image=DAGSTER_IMAGE, image_pull_policy=DAGSTER_PULL_POLICY),
        ["dagster", "api", "execute_step"],
        "a-job",
        user_defined_k8s_config=config,
    )
    plain: dict[str, Any] = client.ApiClient().sanitize_for_serialization(job)
    return plain


def parts(job: Mapping[str, Any], labels: set[str]) -> dict[str, Any]:
    """What of a job the decorators have a say in, of its labels those that they name."""
    from kubernetes.utils.quantity import parse_quantity

    template = job["spec"]["template"]
    (container,) = template["spec"]["containers"]
    resources = container["resources"]
    return {
        **{
            f"{kind} of {what}": amount
            and {name: parse_quantity(value) for name, value in amount.items()}
            for kind in ("requests", "limits")
            for what, amount in [("the container", resources.get(kind) or {})]
        },
        "image": container["image"],
        "pull policy": container.get("imagePullPolicy"),
        "variables": container.get("envFrom") or [],
        "mounts": container.get("volumeMounts") or [],
        "volumes": template["spec"].get("volumes") or [],
        "pull secrets": template["spec"].get("imagePullSecrets") or [],
        "node selector": template["spec"].get("nodeSelector") or {},
        "tolerations": template["spec"].get("tolerations") or [],
        "service account": template["spec"].get("serviceAccountName"),
        **{
            f"{name} of {what}": _chosen(metadata.get(name) or {}, labels)
            for name in ("labels", "annotations")
            for what, metadata in (("job", job["metadata"]), ("pod", template["metadata"]))
        },
    }


def _chosen(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: values[name] for name in sorted(names & set(values))}


def different(kubernetes: Mapping[str, Any], resources: Mapping[str, Any] | None) -> Iterator[str]:
    """How the pod of Dagster's differs from that of Metaflow's own."""
    found = decorators(kubernetes, resources)
    (decorator,) = [each for each in found if each.name == "kubernetes"]
    pod = pod_of(found)
    names = {*decorator.attributes["labels"], *decorator.attributes["annotations"]}
    metaflows, dagsters = parts(by_metaflow(found), names), parts(by_dagster(pod), names)
    for name, ours, default in (
        ("image", "image", DAGSTER_IMAGE),
        ("pull policy", "image_pull_policy", DAGSTER_PULL_POLICY),
    ):
        if ours not in dict(pod.container):
            assert dagsters[name] == default
            metaflows[name] = default
    for name, expected in metaflows.items():
        if dagsters[name] != expected:
            yield f"{name}: {expected} is not {dagsters[name]}"


def main(text: str) -> None:
    for kubernetes, resources in json.loads(text):
        print(json.dumps(list(different(kubernetes, resources))))


if __name__ == "__main__":
    main(sys.argv[1])
