"""The pods that steps ask for by `@resources` and `@kubernetes`, in the words of Kubernetes.

What each attribute becomes is as in `metaflow/plugins/kubernetes/kubernetes_job.py:
create_job_spec`. Metaflow has put the larger of both decorators' resources into those of
`@kubernetes` when the step was initialised.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from metaflow.metaflow_config import (
    KUBERNETES_CONTAINER_IMAGE,
    KUBERNETES_CONTAINER_REGISTRY,
    KUBERNETES_GPU_VENDOR,
    KUBERNETES_NAMESPACE,
    KUBERNETES_QOS,
    KUBERNETES_SECRETS,
)
from metaflow.plugins.kubernetes.kube_utils import qos_requests_and_limits

from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.ir.flow import Literal, Pod

Attributes = Mapping[str, Any]

# What only Metaflow's own way of starting pods can do.
_ONLY_METAFLOW = ("executable", "extended_resources", "port", "security_context", "tmpfs_size")


def read_pod(node: Node) -> Pod | None:
    """The pod a step asks for; None if it asks for none."""
    asked = {one.name: one.attributes for one in node.decorators}
    if "kubernetes" in asked:
        return _pod(asked["kubernetes"], node.parallel_step)
    if "resources" in asked:
        return Pod(
            container=tuple(_container(asked["resources"])),
            spec=tuple(_spec(asked["resources"])),
        )
    return None


def _pod(attributes: Attributes, is_parallel: bool) -> Pod:
    labels = {name: attributes[name] for name in ("labels", "annotations") if attributes[name]}
    return Pod(
        container=tuple(_container(attributes)),
        spec=tuple(_spec(attributes)),
        metadata=tuple(labels.items()),
        beyond_dagster=tuple(_beyond_dagster(attributes, is_parallel)),
        by_kubernetes=True,
    )


def _container(attributes: Attributes) -> Iterator[tuple[str, Literal]]:
    image = attributes.get("image")
    if image and image not in _images_by_default():
        yield "image", image
    if attributes.get("image_pull_policy"):
        yield "image_pull_policy", attributes["image_pull_policy"]
    yield "resources", _resources(attributes)
    secrets = [*_named(attributes.get("secrets")), *KUBERNETES_SECRETS.split(",")]
    if any(secrets):
        yield "env_from", [{"secret_ref": {"name": one}} for one in secrets if one]
    mounts = [_mount(name, path) for name, path, _ in _volumes(attributes)]
    if mounts:
        yield "volume_mounts", mounts


def _mount(name: str, path: str) -> Literal:
    return {"name": name, "mount_path": path}


def _images_by_default() -> tuple[str | None, ...]:
    """What Metaflow takes where nothing is given, in which there is no Dagster."""
    major, minor, _ = platform.python_version_tuple()
    image = KUBERNETES_CONTAINER_IMAGE or f"python:{major}.{minor}"
    registry = (KUBERNETES_CONTAINER_REGISTRY or "").rstrip("/")
    return image, f"{registry}/{image}"


def _resources(attributes: Attributes) -> dict[str, Literal]:
    disk = attributes.get("disk")
    requests, limits = qos_requests_and_limits(
        attributes.get("qos") or KUBERNETES_QOS,
        _amount(attributes["cpu"]),
        _amount(attributes["memory"]),
        _amount(disk or 0),
    )
    if attributes.get("gpu") is not None:
        vendor = (attributes.get("gpu_vendor") or KUBERNETES_GPU_VENDOR).lower()
        limits = {**limits, f"{vendor}.com/gpu": _amount(attributes["gpu"])}
    both: dict[str, dict[str, Literal]] = {"requests": dict(requests), "limits": dict(limits)}
    if not disk:
        for amounts in both.values():
            amounts.pop("ephemeral-storage", None)
    return {name: amounts for name, amounts in both.items() if amounts}


def _amount(value: object) -> str:
    """A number as Kubernetes writes it, without the zeros Metaflow's comparisons leave."""
    return f"{float(str(value)):f}".rstrip("0").rstrip(".")


def _spec(attributes: Attributes) -> Iterator[tuple[str, Literal]]:
    for theirs, ours in (
        ("service_account", "service_account_name"),
        ("node_selector", "node_selector"),
        ("tolerations", "tolerations"),
    ):
        if attributes.get(theirs):
            yield ours, attributes[theirs]
    if attributes.get("image_pull_secrets"):
        yield "image_pull_secrets", [{"name": one} for one in attributes["image_pull_secrets"]]
    volumes: list[Literal] = [{"name": name, **source} for name, _, source in _volumes(attributes)]
    if volumes:
        yield "volumes", volumes


def _volumes(attributes: Attributes) -> Iterator[tuple[str, str, dict[str, Literal]]]:
    """Name, path and source of each volume."""
    if attributes.get("shared_memory"):
        limit = f"{attributes['shared_memory']}Mi"
        yield "dhsm", "/dev/shm", {"empty_dir": {"medium": "Memory", "size_limit": limit}}
    for claim, path in (attributes.get("persistent_volume_claims") or {}).items():
        yield claim, path, {"persistent_volume_claim": {"claim_name": claim}}


def _named(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _beyond_dagster(attributes: Attributes, is_parallel: bool) -> Iterator[str]:
    """What is asked for that Dagster's pods would not have."""
    yield from (name for name in _ONLY_METAFLOW if attributes.get(name))
    if attributes["namespace"] != KUBERNETES_NAMESPACE:
        yield "namespace"
    if is_parallel:
        yield "@parallel"
