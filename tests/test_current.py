"""What a step learns of its run by `current`, under Metaflow and under Dagster."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metaflow
import pytest
from dagster import DagsterInstance, execute_job
from dagster._core.definitions.reconstruct import ReconstructableJob

from metaflow_dagster.names import project_job_name
from tests.golden import USER
from tests.support import (
    DagsterRun,
    RunSnapshot,
    checked,
    dagster_run,
    differences,
    load_module,
    path_with_this_python,
    snapshot,
    use_client,
    working_directory,
)

pytestmark = pytest.mark.slow

FLOW = """
import os
from metaflow import (
    FlowSpec, Parameter, current, get_namespace, parallel, project, retry, step
)

SAME = (
    "is_running_flow flow_name step_name retry_count origin_run_id namespace username tags "
    "is_parallel parameter_names graph_info project_name branch_name project_flow_name "
    "is_production is_user_branch"
).split()
OWN = "run_id task_id pathspec".split()


def seen(names):
    return {name: getattr(current, name, "missing") for name in names}


class CurrentFlow(FlowSpec):
    size = Parameter("size", default=2)
    label = Parameter("my-label", default="a")

    def look(self):
        self.same = {**seen(SAME), "client namespace": get_namespace()}
        self.own = {**seen(OWN), "task": current.task.pathspec, "run": current.run.pathspec}
        self.own["events"] = [event.name for event in getattr(current, "trigger", None) or []]
        self.own["runtime"] = os.environ.get("METAFLOW_RUNTIME_NAME")

    @step
    def start(self):
        self.look()
        self.items = list(range(self.size))
        self.next(self.item, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def item(self):
        self.look()
        if self.input and not current.retry_count:
            raise ValueError("once more")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.look()
        self.next(self.spread)

    @step
    def spread(self):
        self.look()
        self.next(self.node, num_parallel=2)

    @parallel
    @step
    def node(self):
        self.look()
        self.nodes = current.parallel[:3]
        self.control = current.parallel.control_task_id
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.look()
        self.next(self.end)

    @step
    def end(self):
        self.look()


if __name__ == "__main__":
    CurrentFlow()
"""
# Names of the run or its tasks, which differ, and what has no equality.
LEFT_OUT = ("own", "control", "_control_mapper_tasks", "_parallel_ubf_iter")
EVENT = {"timestamp": 1700000000, "id": "e-1", "name": "data_arrived", "type": "event"}


OP_OF_STEP = {
    step: f"op_{step}" for step in ("start", "item", "join", "spread", "node", "collect", "end")
}


@dataclass(frozen=True)
class Variant:
    """A flow and how it is deployed.

    `top` are top-level options and `options` those of `create`, which `run` takes as well.
    """

    flow: str = FLOW
    top: Sequence[str] = ()
    options: Sequence[str] = ()
    warm: bool = False
    job_name: str = "CurrentFlow"
    system_tags: frozenset[str] = frozenset()


PROJECT = FLOW.replace("class CurrentFlow", '@project(name="atlas")\nclass CurrentFlow')
VARIANTS = [
    pytest.param(Variant(), id="plain"),
    pytest.param(
        Variant(
            PROJECT,
            ["--branch=fix_it"],
            ["--tag=team:search", "--tag=ü", "--namespace=user:somebody"],
            True,
            "atlas_test_fix_it_CurrentFlow",
            frozenset({"project:atlas", "project_branch:test.fix_it"}),
        ),
        id="branch",
    ),
    pytest.param(
        Variant(
            PROJECT,
            ["--production"],
            (),
            True,
            "atlas_prod_CurrentFlow",
            frozenset({"project:atlas", "project_branch:prod"}),
        ),
        id="production",
    ),
]


class Deployed:
    """A flow that one user has deployed in a directory of its own."""

    def __init__(self, directory: Path, variant: Variant, deployer: str) -> None:
        self.directory = directory
        self.variant = variant
        (directory / ".metaflow").mkdir()
        (directory / "current_flow.py").write_text(variant.flow, encoding="utf-8")
        self.command = [sys.executable, "current_flow.py", "--quiet", *variant.top]
        create = [*self.command, "dagster", "create", "job.py", *variant.options]
        home = str(directory / "home")
        checked(create, directory, METAFLOW_USER=deployer, METAFLOW_HOME=home)

    @property
    def blob(self) -> Path:
        """What makes the file a deployed one."""
        return self.directory / ".metaflow" / "mf.dagster" / self.variant.job_name

    @property
    def token(self) -> str:
        """The production token."""
        return str(json.loads(self.blob.read_text())["production_token"])

    def run_natively(self, **environment: str) -> str:
        """Run the flow by `python flow.py run`, and return the path of the run."""
        id_file = self.directory / "run-id"
        run = [*self.command, "run", f"--run-id-file={id_file}", *self.variant.options]
        checked(run, self.directory, PATH=path_with_this_python(), **environment)
        return f"CurrentFlow/{id_file.read_text()}"

    def run_by_dagster(self, tags: Mapping[str, str] | None = None) -> tuple[DagsterRun, str, str]:
        """Run the job: what Dagster says, its run id, and all that it has logged."""
        with working_directory(self.directory), DagsterInstance.ephemeral() as instance:
            result = self.execute(instance, tags)
            run = dagster_run(instance, result.run_id)
            assert run.succeeded, run.failures
            return run, result.run_id, "\n".join(map(repr, instance.all_logs(result.run_id)))

    def execute(self, instance: DagsterInstance, tags: Mapping[str, str] | None) -> Any:
        """Run the job: if warm, by the executor of the file, else in this process."""
        file = self.directory / "job.py"
        (job,) = load_module(file).defs.jobs
        assert job.name == self.variant.job_name
        if not self.variant.warm:
            return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        reconstructable = ReconstructableJob.for_file(str(file), job.name)
        return execute_job(reconstructable, instance, tags=dict(tags or {}))

    def snapshot(self, path: str) -> RunSnapshot:
        """What Metaflow says of a run, without what names it."""
        return snapshot(self.directory, path, LEFT_OUT)


@pytest.mark.parametrize("variant", VARIANTS)
def test_current_is_that_of_a_native_run(
    variant: Variant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # A tag says what has triggered the run, and not what the environment has from another one.
    monkeypatch.setenv("METAFLOW_DAGSTER_TRIGGERS", json.dumps([EVENT, EVENT]))
    deployed = Deployed(tmp_path, variant, USER)
    token = deployed.token
    run, dagster_run_id, log = deployed.run_by_dagster(
        {"metaflow/triggers": json.dumps([EVENT, "malformed"])}
    )
    assert token not in log
    assert token not in "".join(capfd.readouterr())

    # The native run has the identity that the deployment gives to the other.
    native = deployed.run_natively(METAFLOW_PRODUCTION_TOKEN=token, METAFLOW_OWNER=USER)
    path = f"CurrentFlow/{run.metaflow_run_id}"
    found = deployed.snapshot(path)
    assert differences(deployed.snapshot(native), found) == []
    assert {f"production:{token}", *variant.system_tags} <= found.system_tags
    check_tasks(path, dagster_run_id, variant.job_name)


def check_tasks(path: str, dagster_run_id: str, job_name: str) -> None:
    """Each task knows where it is, and Metaflow knows which op it is of."""
    from metaflow import Run

    run = Run(path)
    assert "runtime:dagster" in run.system_tags
    for task in (task for step in run for task in step):
        assert task["own"].data == {
            "run_id": run.id,
            "task_id": task.id,
            "pathspec": task.pathspec,
            "task": task.pathspec,
            "run": run.pathspec,
            "runtime": "dagster",
            "events": ["data_arrived"],
        }
        triggered = {"execution-triggers": json.dumps([EVENT])}
        assert metadata(task.pathspec, task["same"].data["retry_count"]) == {
            "dagster-run-id": dagster_run_id,
            "dagster-job-name": job_name,
            "dagster-op": OP_OF_STEP[task.parent.id],
            "dagster-owner": USER,
            **(triggered if task.parent.id == "start" else {}),
        }
    assert {task["control"].data for task in run["node"]} == {run["node"].control_task.id}


def test_user_branch_is_that_of_who_has_deployed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaflow import Run

    variant = Variant(PROJECT, job_name=project_job_name("atlas.user.ann.smith.CurrentFlow"))
    deployed = Deployed(tmp_path, variant, "ann.smith")
    monkeypatch.setenv("METAFLOW_USER", "service")
    run, _, _ = deployed.run_by_dagster()
    use_client(tmp_path)
    found = Run(f"CurrentFlow/{run.metaflow_run_id}")
    assert {f"production:{deployed.token}", "project_branch:user.ann.smith"} <= found.system_tags
    assert not any(tag.startswith("user:") for tag in found.system_tags)
    same = found["end"].task["same"].data
    assert (same["branch_name"], same["is_user_branch"]) == ("user.ann.smith", True)
    assert (same["username"], same["namespace"]) == ("service", f"production:{deployed.token}")


def test_without_a_deployment_runs_are_those_of_the_user(tmp_path: Path) -> None:
    compiled = Deployed(tmp_path, Variant(), USER)
    compiled.blob.unlink()
    run, _, _ = compiled.run_by_dagster()
    found = compiled.snapshot(f"CurrentFlow/{run.metaflow_run_id}")
    assert differences(compiled.snapshot(compiled.run_natively()), found) == []
    assert f"user:{USER}" in found.system_tags
    assert found.tasks["end"][()].artifacts["same"]["namespace"] == f"user:{USER}"


def test_identity_in_the_environment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaflow import Run

    deployed = Deployed(tmp_path, Variant(), USER)
    monkeypatch.setenv("METAFLOW_PRODUCTION_TOKEN", "another")
    monkeypatch.setenv("METAFLOW_OWNER", "somebody")
    run, _, _ = deployed.run_by_dagster()
    use_client(tmp_path)
    found = Run(f"CurrentFlow/{run.metaflow_run_id}")
    assert "production:another" in found.system_tags
    assert metadata(found["end"].task.pathspec, 0)["dagster-owner"] == "somebody"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a Python around the environment")
def test_steps_run_where_the_extension_is_not(tmp_path: Path) -> None:
    from metaflow import Flow

    deployed = Deployed(tmp_path, Variant(), USER)
    packages = packages_without_the_extension(tmp_path / "packages")
    code = (
        "from importlib.util import find_spec\n"
        "assert not find_spec('metaflow_dagster')\n"
        "from job import CurrentFlow\n"
        "assert CurrentFlow.execute_in_process().success\n"
    )
    checked([sys._base_executable, "-c", code], tmp_path, PYTHONPATH=str(packages))
    use_client(tmp_path)
    (run,) = Flow("CurrentFlow")
    assert run.successful
    assert f"production:{deployed.token}" in run.system_tags
    assert metadata(run["end"].task.pathspec, 0) == {}


def packages_without_the_extension(directory: Path) -> Path:
    """A directory with all that is installed but this package."""
    directory.mkdir()
    for package in Path(metaflow.__file__).parent.parent.iterdir():
        if "metaflow_dagster" not in package.name:
            (directory / package.name).symlink_to(package)
    return directory


def metadata(pathspec: str, attempt: int) -> Mapping[str, str]:
    """What the decorator has registered for an attempt of a task."""
    from metaflow import Task

    registered = Task(pathspec, attempt=attempt).metadata_dict
    return {
        name: value
        for name, value in registered.items()
        if name.startswith("dagster-") or name == "execution-triggers"
    }
