from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from dagster import DagsterInstance, Failure, OpExecutionContext

from metaflow_dagster.deployment import Deployment, deployments
from metaflow_dagster.ir.flow import Backend
from metaflow_dagster.runtime import identity
from metaflow_dagster.runtime.identity import (
    dagster_variables,
    deployed_identity,
    internal_decorators,
    task_environment,
)
from metaflow_dagster.runtime.settings import DEPLOYMENTS, FlowSettings
from tests.unit.samples import settings_of


@pytest.fixture
def flow(tmp_path: Path) -> FlowSettings:
    """A flow whose datastore is in a directory of its own."""
    return settings_of(datastore_root=str(tmp_path))


def deploy(flow: FlowSettings, deployment: Deployment, job_name: str | None = None) -> None:
    backend = Backend(datastore_root=flow.datastore_root)
    deployments(backend, flow.file, job_name or flow.job_name).store(deployment)


def test_nobody_has_deployed_the_job(flow: FlowSettings) -> None:
    deploy(flow, Deployment("ann", "t-0"), "AnotherJob")
    assert deployed_identity(flow, "run") == {}


def test_identity_is_what_has_been_stored(flow: FlowSettings) -> None:
    deploy(flow, Deployment("ann ü", "t-0"))
    expected = {"METAFLOW_OWNER": "ann ü", "METAFLOW_PRODUCTION_TOKEN": "t-0"}
    assert deployed_identity(flow, "run") == expected
    deploy(flow, Deployment("bob", "t-1"))
    assert deployed_identity(flow, "run") == expected, "it is read once a run"
    renewed = {"METAFLOW_OWNER": "bob", "METAFLOW_PRODUCTION_TOKEN": "t-1"}
    assert deployed_identity(flow, "next run") == renewed, "by a process that lives on, too"


@pytest.mark.parametrize("blob", ["", "[]", "{}", "null"])
def test_blob_of_somebody_else(blob: str, flow: FlowSettings, tmp_path: Path) -> None:
    (tmp_path / DEPLOYMENTS).mkdir()
    (tmp_path / DEPLOYMENTS / flow.job_name).write_text(blob)
    with pytest.raises(Failure, match="does not say who deployed this job"):
        deployed_identity(flow, "run")


@pytest.mark.parametrize(
    ("variable", "given", "found"),
    [
        pytest.param("METAFLOW_PRODUCTION_TOKEN", "mine", None, id="token"),
        pytest.param("METAFLOW_OWNER", "me", None, id="owner"),
        pytest.param("METAFLOW_OWNER", "", "ann", id="empty means none"),
    ],
)
def test_what_is_in_the_environment_is_left_alone(
    variable: str,
    given: str,
    found: str | None,
    flow: FlowSettings,
    op_context: OpExecutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deploy(flow, Deployment("ann", "t-0"))
    monkeypatch.setenv(variable, given)
    environment = task_environment(flow, op_context)
    assert environment.get(variable) == found
    assert environment["METAFLOW_DAGSTER_OP"] == "op_alias"
    assert environment["METAFLOW_DAGSTER_JOB_NAME"] == "a_job"
    assert environment["METAFLOW_DAGSTER_RUN_ID"] == op_context.run_id


@pytest.fixture
def op_context() -> OpExecutionContext:
    """The context that an op in a job has."""
    from dagster import job, op

    found = []

    # Without annotations, which Dagster would have to find here.
    @op
    def keep(context):  # noqa: ANN001, ANN202
        found.append(context)

    @job
    def a_job():  # noqa: ANN202
        keep.alias("op_alias")()

    assert a_job.execute_in_process().success
    (context,) = found
    return context  # type: ignore[no-any-return]


def test_decorator_is_known_where_the_extension_is() -> None:
    assert internal_decorators() == ("dagster_internal",)


class Context:
    """What tells where a Dagster is."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance


@pytest.mark.parametrize("variable", [None, "DAGSTER_HOME", "METAFLOW_DAGSTER_URL"])
def test_step_knows_the_dagster_that_runs_it(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "METAFLOW_DAGSTER_URL"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "named")
    with DagsterInstance.from_config(str(tmp_path), config_filename="none.yaml") as instance:
        found = dagster_variables(Context(instance))  # type: ignore[arg-type]
    assert found == ({} if variable else {"DAGSTER_HOME": str(tmp_path)})


def test_step_is_not_told_of_a_dagster_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with DagsterInstance.ephemeral() as instance:
        assert dagster_variables(Context(instance)) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "no JSON", '{"a": 1}', "[1]"])
def test_tags_of_a_launch_that_cannot_be_read(text: str) -> None:
    context = SimpleNamespace(run=SimpleNamespace(tags={"metaflow/tags": text}))
    with pytest.raises(Failure, match="metaflow/tags is no JSON list"):
        identity.launch_tags(context)  # type: ignore[arg-type]
