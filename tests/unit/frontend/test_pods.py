"""What @kubernetes and @resources ask for: the same pods as Metaflow's own."""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from metaflow.plugins.kubernetes.kubernetes_decorator import KubernetesDecorator

from metaflow_dagster.ir.flow import Pod
from tests.support import checked
from tests.unit.frontend.pods import decorators, different, pod_of

ROOT = Path(__file__).parents[3]

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
LABELS = st.dictionaries(NAMES.map("example.org/{}".format), NAMES, max_size=2)
AMOUNTS = st.integers(1, 64) | st.sampled_from([0.5, "2", "1.5", 4096])
TOLERATIONS = st.fixed_dictionaries(
    {"key": NAMES, "operator": st.sampled_from(["Equal", "Exists"])},
    optional={"value": NAMES, "effect": st.just("NoExecute"), "toleration_seconds": st.just(60)},
)
SELECTORS = st.dictionaries(NAMES, NAMES | st.integers(1, 9), min_size=1, max_size=2)
CLAIMS = st.dictionaries(NAMES, NAMES.map("/mnt/{}".format), max_size=2)
KUBERNETES = st.fixed_dictionaries(
    {},
    optional={
        "cpu": AMOUNTS,
        "memory": AMOUNTS,
        "disk": AMOUNTS,
        "gpu": st.integers(0, 8) | st.just("1"),
        "gpu_vendor": st.sampled_from(["nvidia", "amd"]),
        "qos": st.sampled_from(["Guaranteed", "burstable"]),
        "image": NAMES.map("registry.example.org/{}:1".format),
        "image_pull_policy": st.sampled_from(["Always", "IfNotPresent"]),
        "image_pull_secrets": st.lists(NAMES, max_size=2),
        "secrets": NAMES | st.lists(NAMES, max_size=2),
        "service_account": NAMES,
        "node_selector": SELECTORS
        | SELECTORS.map(
            lambda selector: ",".join(f"{key}={value}" for key, value in selector.items())
        ),
        "compute_pool": NAMES,
        "tolerations": st.lists(TOLERATIONS, max_size=2),
        "labels": LABELS,
        "annotations": LABELS,
        "shared_memory": st.integers(1, 4096),
        "persistent_volume_claims": CLAIMS,
    },
)
RESOURCES = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "cpu": AMOUNTS,
        "memory": AMOUNTS,
        "disk": AMOUNTS,
        "gpu": st.integers(0, 8),
        "shared_memory": st.integers(1, 4096),
    },
)


@example({}, None)
@example({"node_selector": {"zone": 1}}, None)
@example({"gpu": 0, "gpu_vendor": "amd"}, {"gpu": 2, "cpu": 4, "memory": 500})
@given(KUBERNETES, RESOURCES)
@settings(max_examples=12)
def test_dagster_makes_the_pod_that_metaflow_makes(
    kubernetes: dict[str, Any], resources: dict[str, Any] | None
) -> None:
    assert list(different(kubernetes, resources)) == []


SETTINGS = {
    "METAFLOW_KUBERNETES_ANNOTATIONS": "example.org/note=a",
    "METAFLOW_KUBERNETES_CONTAINER_REGISTRY": "registry.example.org/",
    "METAFLOW_KUBERNETES_CPU": "3",
    "METAFLOW_KUBERNETES_DISK": "2048",
    "METAFLOW_KUBERNETES_GPU_VENDOR": "amd",
    "METAFLOW_KUBERNETES_IMAGE_PULL_POLICY": "Always",
    "METAFLOW_KUBERNETES_IMAGE_PULL_SECRETS": '["regcred"]',
    "METAFLOW_KUBERNETES_LABELS": "example.org/team=search,example.org/empty",
    "METAFLOW_KUBERNETES_MEMORY": "1000",
    "METAFLOW_KUBERNETES_NODE_SELECTOR": "disk=ssd,zone=a",
    "METAFLOW_KUBERNETES_PERSISTENT_VOLUME_CLAIMS": '{"data": "/mnt/data"}',
    "METAFLOW_KUBERNETES_QOS": "guaranteed",
    "METAFLOW_KUBERNETES_SECRETS": "one,two",
    "METAFLOW_KUBERNETES_SERVICE_ACCOUNT": "steps",
    "METAFLOW_KUBERNETES_TOLERATIONS": '[{"key": "gpu", "operator": "Exists"}]',
}


@pytest.mark.slow
@pytest.mark.parametrize("image", [None, "team/image:1"])
def test_settings_count_as_they_do_for_metaflow(image: str | None) -> None:
    more = {} if image is None else {"METAFLOW_KUBERNETES_CONTAINER_IMAGE": image}
    asked = [
        ({}, None),
        ({"gpu": 1, "secrets": ["three"], "labels": {"example.org/team": "ads"}}, {"cpu": 8}),
        ({"image": "own:2", "node_selector": {"disk": "hdd"}, "qos": "Burstable"}, None),
    ]
    command = [sys.executable, "-m", "tests.unit.frontend.pods", json.dumps(asked)]
    output = checked(command, ROOT, **SETTINGS, **more)
    assert output.splitlines() == ["[]"] * len(asked)


def test_the_comparison_can_fail() -> None:
    found = decorators({"cpu": 2}, None)
    assert dict(pod_of(found).container)["resources"] == {
        "requests": {"cpu": "2", "memory": "4096M", "ephemeral-storage": "10240M"}
    }
    from tests.unit.frontend import pods

    ours, theirs = (
        pods.parts(each, set())
        for each in (pods.by_dagster(pod_of(found)), pods.by_metaflow(decorators({"cpu": 3}, None)))
    )
    assert ours["requests of the container"] != theirs["requests of the container"]


def test_resources_alone_leave_image_and_disk_to_the_executor() -> None:
    pod = pod_of(decorators(None, {"cpu": 0.5, "memory": 256, "gpu": 1, "shared_memory": 64}))
    assert pod == Pod(
        container=(
            (
                "resources",
                {"requests": {"cpu": "0.5", "memory": "256M"}, "limits": {"nvidia.com/gpu": "1"}},
            ),
            ("volume_mounts", [{"name": "dhsm", "mount_path": "/dev/shm"}]),
        ),
        spec=(
            (
                "volumes",
                [{"name": "dhsm", "empty_dir": {"medium": "Memory", "size_limit": "64Mi"}}],
            ),
        ),
    )


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("executable", "python3.9"),
        ("extended_resources", {"example.org/dongle": "1"}),
        ("namespace", "elsewhere"),
        ("port", 8080),
        ("security_context", {"privileged": True}),
        ("tmpfs_size", 64),
        ("use_tmpfs", True),
    ],
)
def test_what_only_pods_of_metaflow_have(attribute: str, value: object) -> None:
    if attribute not in KubernetesDecorator.defaults:
        pytest.skip(f"this release of Metaflow does not know {attribute}")
    named = {"use_tmpfs": "tmpfs_size"}.get(attribute, attribute)
    assert pod_of(decorators({attribute: value}, None)).beyond_dagster == (named,)


def test_several_nodes_are_more_than_a_pod() -> None:
    assert pod_of(decorators({}, None), is_parallel=True).beyond_dagster == ("@parallel",)
    assert pod_of(decorators({}, None)).beyond_dagster == ()


FLOW = """
from metaflow import FlowSpec, kubernetes, resources, step
from metaflow.decorators import StepDecorator

class SandboxDecorator(StepDecorator):
    name = "sandbox"
    def runtime_step_cli(self, *_):
        pass

def sandbox(step):
    step.decorators.append(SandboxDecorator(statically_defined=True))
    return step

class AskingFlow(FlowSpec):
    {start}
    @step
    def start(self):
        self.next(self.end)

    @resources(cpu=2)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    AskingFlow()
"""
S3 = {"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DATASTORE_SYSROOT_S3": "s3://nowhere/metaflow"}
COMPILE = """
import sys
from asking_flow import AskingFlow
from metaflow_dagster import CompileError, synthesize
try:
    synthesize(AskingFlow, executor=sys.argv[1])
except CompileError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "said"),
    [
        pytest.param(
            "@kubernetes(port=80, tmpfs_size=5)",
            ["@kubernetes with port cannot be had", "@kubernetes with tmpfs_size cannot be had"],
            id="attributes",
        ),
        pytest.param("@sandbox\n    @kubernetes", ["@kubernetes with @sandbox"], id="decorator"),
        pytest.param("@kubernetes(cpu=1)", [], id="accepted"),
    ],
)
def test_compilation(start: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "asking_flow.py").write_text(FLOW.replace("{start}", start))
    output = checked([sys.executable, "-c", COMPILE, "k8s"], tmp_path, **S3)
    assert len([line for line in output.splitlines() if "cannot be had" in line]) == len(said)
    for each in said:
        assert each in output
    assert ("asking_flow.py" in output and "start" in output) == bool(said)
    # Any other executor leaves pods to Metaflow.
    assert "cannot be had" not in checked([sys.executable, "-c", COMPILE, "docker"], tmp_path, **S3)
