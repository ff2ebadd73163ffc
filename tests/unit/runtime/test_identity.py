from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from dagster import DagsterInstance, Failure, OpExecutionContext

from metaflow_dagster.deployment import DEPLOYMENTS, Deployment, deployments
from metaflow_dagster.ir.flow import Backend
from metaflow_dagster.runtime import identity
from metaflow_dagster.runtime.identity import (
    dagster_variables,
    deployed_identity,
    internal_decorators,
    task_environment,
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of the datastore in which the runtime looks."""
    options = ["--datastore=local", f"--datastore-root={tmp_path}"]
    monkeypatch.setattr("metaflow_dagster.runtime.store.METAFLOW_TOP_ARGS", options)
    deployed_identity.cache_clear()
    yield tmp_path
    deployed_identity.cache_clear()


def deploy(root: Path, deployment: Deployment, job_name: str = identity.JOB_NAME) -> None:
    deployments(Backend(datastore_root=str(root)), str(root / "a.py"), job_name).store(deployment)


def test_nobody_has_deployed_the_job(root: Path) -> None:
    deploy(root, Deployment("ann", "t-0"), "AnotherJob")
    assert deployed_identity("run") == {}


def test_identity_is_what_has_been_stored(root: Path) -> None:
    deploy(root, Deployment("ann ü", "t-0"))
    expected = {"METAFLOW_OWNER": "ann ü", "METAFLOW_PRODUCTION_TOKEN": "t-0"}
    assert deployed_identity("run") == expected
    deploy(root, Deployment("bob", "t-1"))
    assert deployed_identity("run") == expected, "it is read once a run"
    renewed = {"METAFLOW_OWNER": "bob", "METAFLOW_PRODUCTION_TOKEN": "t-1"}
    assert deployed_identity("next run") == renewed, "by a process that lives on, too"


@pytest.mark.parametrize("blob", ["", "[]", "{}", "null"])
def test_blob_of_somebody_else(blob: str, root: Path) -> None:
    (root / DEPLOYMENTS).mkdir()
    (root / DEPLOYMENTS / identity.JOB_NAME).write_text(blob)
    with pytest.raises(Failure, match="does not say who deployed this job"):
        deployed_identity("run")


def test_both_look_in_the_same_directory() -> None:
    assert identity.DEPLOYMENTS == DEPLOYMENTS


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
    root: Path,
    op_context: OpExecutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deploy(root, Deployment("ann", "t-0"))
    monkeypatch.setenv(variable, given)
    environment = task_environment(op_context)
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
