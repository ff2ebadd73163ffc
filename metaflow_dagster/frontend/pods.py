"""The pods that steps ask for by `@resources` and `@kubernetes`, in the words of Kubernetes.

What each attribute becomes is as in `metaflow/plugins/kubernetes/kubernetes_job.py:
create_job_spec`. Metaflow has put the larger of both decorators' resources into those of
`@kubernetes` when the step was initialised.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from metaflow.metaflow_config import (
    KUBERNETES_CONTAINER_IMAGE,
    KUBERNETES_CONTAINER_REGISTRY,
    KUBERNETES_GPU_VENDOR,
    KUBERNETES_QOS,
    KUBERNETES_SECRETS,
)
from metaflow.plugins.kubernetes.kube_utils import qos_requests_and_limits

from metaflow_dagster.frontend.json_values import as_json
from metaflow_dagster.frontend.session import STUMBLES
from metaflow_dagster.frontend.texts import short
from metaflow_dagster.ir.flow import Literal, Pod

Attributes = Mapping[str, Any]

_UNITS = {"cpu": "CPUs", "memory": "MB", "disk": "MB", "gpu": "GPUs"}
_NAMES = {"cpu": "cpu", "memory": "memory", "disk": "ephemeral-storage"}  # those of Kubernetes


def checked_pod(
    decorator: str, attributes: Attributes, asked_for: Callable[[Attributes], Pod]
) -> Pod:
    """The pod, or what is wrong with it: Metaflow takes nearly any value where it makes no pod."""
    faults = tuple(_wrong_amounts(decorator, attributes))
    if faults:
        return Pod(faults=faults)
    try:
        return asked_for(attributes)
    except STUMBLES as error:
        fault = f"The attributes of @{decorator} make no pod ({type(error).__name__}: {error})."
        return Pod(faults=(fault,))


def _wrong_amounts(decorator: str, attributes: Attributes) -> Iterator[str]:
    for name, unit in _UNITS.items():
        value = attributes.get(name)
        if value is not None and not _is_amount(value, is_whole=name == "gpu"):
            yield f"@{decorator} asks for {name}={short(value)}, which is no number of {unit}."


def _is_amount(value: object, is_whole: bool) -> bool:
    try:
        number = float(str(value))
    except ValueError:
        return False
    return math.isfinite(number) and number >= 0 and (not is_whole or number.is_integer())


def pod_of(attributes: Attributes) -> Pod:
    """The pod by the attributes that `@resources` has as well as `@kubernetes`."""
    return Pod(
        container=literal_pairs(_container(attributes)), spec=literal_pairs(_spec(attributes))
    )


def literal_pairs(pairs: Iterable[tuple[str, Any]]) -> tuple[tuple[str, Literal], ...]:
    """Values as a file can hold them; `ValueError` names one that it cannot."""
    return tuple((name, as_json(value)) for name, value in pairs)


def _container(attributes: Attributes) -> Iterator[tuple[str, Literal]]:
    image = attributes.get("image")
    if image and image not in _images_by_default():
        yield "image", image
    if attributes.get("image_pull_policy"):
        yield "image_pull_policy", attributes["image_pull_policy"]
    yield "resources", _resources(attributes)
    secrets = [*_names_in(attributes.get("secrets")), *KUBERNETES_SECRETS.split(",")]
    if any(secrets):
        yield "env_from", [{"secret_ref": {"name": secret}} for secret in secrets if secret]
    mounts = [_mount(name, path) for name, path, _ in _volumes(attributes)]
    if mounts:
        yield "volume_mounts", mounts


def _mount(name: str, path: str) -> Literal:
    return {"name": name, "mount_path": path}


def _images_by_default() -> tuple[str | None, ...]:
    """The images that Metaflow uses if none is given; there is no Dagster in them."""
    major, minor, _ = platform.python_version_tuple()
    image = KUBERNETES_CONTAINER_IMAGE or f"python:{major}.{minor}"
    registry = (KUBERNETES_CONTAINER_REGISTRY or "").rstrip("/")
    return image, f"{registry}/{image}"


def _resources(attributes: Attributes) -> dict[str, Literal]:
    amounts = {name: attributes.get(name) for name in ("cpu", "memory")}
    amounts["disk"] = attributes.get("disk") or None
    requests, limits = qos_requests_and_limits(
        attributes.get("qos") or KUBERNETES_QOS,
        *(_amount(value or 0) for value in amounts.values()),
    )
    if attributes.get("gpu") is not None:
        vendor = (attributes.get("gpu_vendor") or KUBERNETES_GPU_VENDOR).lower()
        limits = {**limits, f"{vendor}.com/gpu": _amount(attributes["gpu"])}
    left_out = {_NAMES[name] for name, value in amounts.items() if value is None}
    both = {"requests": requests, "limits": limits}
    return {
        name: {resource: amount for resource, amount in asked.items() if resource not in left_out}
        for name, asked in both.items()
        if asked.keys() - left_out
    }


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
        yield (
            "image_pull_secrets",
            [{"name": secret} for secret in attributes["image_pull_secrets"]],
        )
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


def _names_in(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())
