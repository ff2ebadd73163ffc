"""Attributes of decorators, of any type: a flow compiles, or is refused by step and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from metaflow.exception import MetaflowException
from metaflow.plugins import FLOW_DECORATORS, STEP_DECORATORS

from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.emit.build import literal
from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.planner import check_pods, without_pods
from tests.unit.flows import flow_class, flow_source, read

VALUES = [
    "None",
    "True",
    "False",
    "0",
    "-1",
    "3",
    "2.5",
    "float('nan')",
    "float('inf')",
    "10**400",
    "''",
    "'x'",
    "'3'",
    "'16Gi'",
    "'500m'",
    "b'x'",
    "[]",
    "['a']",
    "[1,{}]",
    "{}",
    "{'a':1}",
    "{1:2}",
    "{'a':object()}",
    "object()",
    "print",
    "int",
    "{1,2}",
    "('a',)",
    "{'x'*200:'y'}",
]

STEP = sorted(
    (each.name, attribute)
    for each in STEP_DECORATORS
    for attribute in each.defaults
    if not each.name.endswith("_internal")
)
FLOW = sorted((each.name, attribute) for each in FLOW_DECORATORS for attribute in each.defaults)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """What @kubernetes and @batch want, before they look at anything else."""
    monkeypatch.setenv("METAFLOW_DATASTORE", "s3")
    monkeypatch.setenv("METAFLOW_DATASTORE_ROOT", "s3://bucket/x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("metaflow.plugins.aws.batch.batch_decorator.BATCH_JOB_QUEUE", "queue")
    monkeypatch.setattr("metaflow.plugins.aws.batch.batch_decorator.ECS_S3_ACCESS_IAM_ROLE", "role")


def compiled(directory: Path, source: str) -> Flow | None:
    """The flow, or None if it is refused."""
    try:
        flow = read(flow_class(directory, source))
    except (CompileError, MetaflowException):
        return None
    for step in without_pods(flow).steps:
        assert step.pod is None
        assert step.timeout is None or type(step.timeout) is int
        assert {type(each) for each in (step.retries.user_code, step.retries.error)} == {int}
        literal(list(step.environment))
    return flow


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize(("decorator", "attribute"), STEP)
def test_attribute_of_a_step(decorator: str, attribute: str, tmp_path: Path) -> None:
    for value in VALUES:
        flow = compiled(tmp_path, flow_source(start=f"@{decorator}({attribute}={value})"))
        pod = flow.step("start").pod if flow else None
        if flow and pod:
            faults = list(check_pods(flow))
            assert {fault.step for fault in faults} <= {"start"}
            assert len(faults) >= len(pod.faults)
            for pairs in (pod.container, pod.spec, pod.metadata):
                literal(list(pairs))  # as the file would hold it


@pytest.mark.parametrize(("decorator", "attribute"), FLOW)
def test_attribute_of_a_flow(decorator: str, attribute: str, tmp_path: Path) -> None:
    for value in VALUES:
        compiled(tmp_path, flow_source(flow=f"@{decorator}({attribute}={value})"))


@pytest.mark.parametrize(
    "amount", ["memory='16Gi'", "cpu='500m'", "gpu='auto'", "gpu=True", "gpu=1.5", "cpu=-1"]
)
def test_amount_matters_only_where_a_pod_is_made(amount: str, tmp_path: Path) -> None:
    flow = compiled(tmp_path, flow_source(start=f"@resources({amount})"))
    assert flow is not None
    (fault,) = check_pods(flow)
    assert f"asks for {amount}, which is no number" in str(fault)
    assert (fault.step, fault.location) == ("start", flow.step("start").location)


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("decorator", ["batch", "kubernetes", "resources"])
def test_number_is_an_amount(decorator: str, tmp_path: Path) -> None:
    flow = compiled(tmp_path, flow_source(start=f"@{decorator}(cpu=3)"))
    assert flow is not None
    assert list(check_pods(flow)) == []


def test_amount_that_is_not_given(tmp_path: Path) -> None:
    flow = compiled(tmp_path, flow_source(start="@resources(memory=None, cpu=2)"))
    assert flow is not None
    pod = flow.step("start").pod
    assert pod is not None
    assert dict(pod.container)["resources"] == {"requests": {"cpu": "2"}}


INJECTED = """
from metaflow.decorators import StepDecorator

class ShapedDecorator(StepDecorator):
    name = "shaped"
    defaults = {"how": None}

def shaped(step):
    step.decorators.append(ShapedDecorator(attributes={"how": print}))
    return step

class MyFlow("""


def test_injected_decorator_whose_attribute_is_no_json(tmp_path: Path) -> None:
    source = flow_source().replace("class MyFlow(", INJECTED)
    source = source.replace("    @step\n    def start", "    @shaped\n    @step\n    def start")
    with pytest.raises(CompileError, match="The attributes of @shaped") as caught:
        read(flow_class(tmp_path, source))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.step == "start"
    assert diagnostic.location is not None
