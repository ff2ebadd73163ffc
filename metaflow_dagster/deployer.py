"""`DagsterDeployedFlow`: a deployed flow as Metaflow's Deployer API has it.

`trigger`, `resume` and `delete` run the `dagster` commands in processes of their own, as Metaflow's
other deployers do: the flow's file says what its parameters are and where its files are stored.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from metaflow.runner.deployer import DeployedFlow
from metaflow.runner.utils import get_lower_level_group, handle_timeout, temporary_fifo

from metaflow_dagster.cli.launching import Launching
from metaflow_dagster.operate.deployed import (
    CompiledFile,
    DeployedJob,
    find_deployment,
    job_in_file,
    read_compiled,
)
from metaflow_dagster.operate.errors import DeploymentNotFound, launch_error
from metaflow_dagster.operate.find import known_run
from metaflow_dagster.operate.server import ServerTarget
from metaflow_dagster.operate.stand_in import write_stand_in
from metaflow_dagster.operate.target import open_target
from metaflow_dagster.triggered_run import DagsterTriggeredRun

if TYPE_CHECKING:
    from metaflow_extensions.dagster.plugins.dagster_deployer import DagsterDeployer

_URL = "METAFLOW_DAGSTER_URL"
_AUTHORIZE = "METAFLOW_DAGSTER_DELETE_AUTHORIZE"  # Click's, for the option of `dagster delete`

# A parameter of the flow that is called as one of these goes another way to `dagster trigger`.
_OPTIONS = {"run_params", "partition", *(field.name for field in fields(Launching))}


class DagsterDeployedFlow(DeployedFlow):
    """
    A flow that is deployed to Dagster.

    `Deployer(FILE).dagster().create()` gives one, and `from_deployment` in any other process.
    """

    TYPE: ClassVar[str | None] = "dagster"
    deployer: DagsterDeployer

    @property
    def identifier(self) -> str:
        """
        Names the deployment in any process.

        Returns
        -------
        str
            `FILE:JOB`, or `LOCATION:JOB` for a job that was found on a server.
        """
        return self._job.identifier

    @property
    def production_token(self) -> str | None:
        """
        The production token that the runs belong to.

        Returns
        -------
        str, optional
            None if the datastore of the flow knows none, or if it is not known which that is.
        """
        compiled = read_compiled(self._file) if self._file else None
        if compiled is None:
            return None
        deployment = compiled.deployments.load()
        return deployment.production_token if deployment else None

    def trigger(
        self, *, partition: str | None = None, tags: Sequence[str] = (), **parameters: Any
    ) -> DagsterTriggeredRun:
        """
        Start a run, and return as soon as it has started.

        Parameters
        ----------
        partition : str, optional, default None
            The key of the partition that the run is of, where the runs have partitions.
        tags : List[str], optional, default ()
            Tag the Metaflow run with these, besides those of the deployment.
        **parameters : Any
            Parameters of the flow, in their Python types: a dict or list for one of JSON, the path
            of a file for an `IncludeFile`. Those not given are left to their defaults.

        Returns
        -------
        DagsterTriggeredRun
            The run, which goes on when this process ends.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not the flow's or not of its type, or a required one is missing.
        MetaflowException
            If the run was not started, or if that is not known (`LaunchNotKnown`); it says what to
            do.
        """
        # Metaflow insists on parameters that are required, which a partition may give.
        command, by_pair = "trigger", _OPTIONS & {*parameters}
        if partition is not None:
            command, by_pair = "trigger_partition", {*parameters}
        pairs = [f"{name}={_text(parameters.pop(name))}" for name in sorted(by_pair)]
        own = _without_empty(partition=partition, run_params=pairs, tags=list(tags))
        return self._launch(command, {**parameters, **own})

    run = trigger

    def resume(
        self,
        origin_run_id: str | None = None,
        step_to_rerun: str | None = None,
        tags: Sequence[str] = (),
        *,
        run_id: str | None = None,
        step: str | None = None,
    ) -> DagsterTriggeredRun:
        """
        Start a run that continues one that has failed.

        Its parameters are those of that run, as under Metaflow's own `resume`.

        Parameters
        ----------
        origin_run_id : str
            Metaflow id of the run to continue, such as dagster-1a2b3c4d5e6f.
        step_to_rerun : str, optional, default None
            Run this step and all after it again. Whatever has not succeeded if not specified.
        tags : List[str], optional, default ()
            Tag the Metaflow run with these, besides those of the deployment.
        run_id : str, optional, default None
            Another name of `origin_run_id`.
        step : str, optional, default None
            Another name of `step_to_rerun`.

        Returns
        -------
        DagsterTriggeredRun
            The new run.

        Raises
        ------
        TypeError
            If no run is named, or one thing is given two values.
        MetaflowException
            If the run cannot be resumed; it says what to do.
        """
        origin = _single_value("origin_run_id", origin_run_id, run_id)
        if origin is None:
            raise TypeError("resume() takes the run to continue: origin_run_id='dagster-…'")
        chosen = _single_value("step_to_rerun", step_to_rerun, step)
        return self._launch("resume", _without_empty(origin=origin, step=chosen, tags=list(tags)))

    def delete(self, authorize: str | None = None) -> bool:
        """
        Delete the definitions file, and what is kept of the deployment.

        Runs that have started need the file, and fail without it.

        Parameters
        ----------
        authorize : str, optional, default None
            The production token, if somebody else has deployed the flow.

        Returns
        -------
        bool
            True if it is deleted. False if not, as for a job that only a server knows: it is
            deleted where its definitions file is. The command prints why.
        """
        if self._file is None:
            return False
        token = {} if authorize is None else {_AUTHORIZE: authorize}
        options = {"definitions_file": str(self._file), "name": self.name}
        process = self._start("delete", options, token)
        process.sync_wait()
        return bool(process.process.returncode == 0)

    @classmethod
    def from_deployment(cls, identifier: str, metadata: str | None = None) -> DagsterDeployedFlow:
        """
        A flow that is deployed already, by whatever process.

        The Dagster is the one at METAFLOW_DAGSTER_URL, else that on this machine.

        Parameters
        ----------
        identifier : str
            `FILE:JOB`, or the name of a job that this Dagster knows.
        metadata : str, optional, default None
            Where Metaflow records the runs, such as local@/home/ann; the metadata provider that is
            configured if it is not specified.

        Returns
        -------
        DagsterDeployedFlow
            The deployed flow.

        Raises
        ------
        MetaflowException
            If no such job is deployed, or the flow's file is gone.
        """
        job = job_in_file(identifier)
        if job is None:
            with open_target(os.environ.get(_URL)) as target:
                job = find_deployment(target.jobs(), identifier)
        return cls(_deployer(job, metadata))

    @classmethod
    def list_deployed_flows(cls, flow_name: str | None = None) -> Iterator[DagsterDeployedFlow]:
        """
        The flows that are deployed, as far as this Dagster knows: see `dagster list`.

        Parameters
        ----------
        flow_name : str, optional, default None
            Only deployments of this flow.

        Yields
        ------
        DagsterDeployedFlow
            A deployed flow. Those whose flow file is gone are left out.
        """
        with open_target(os.environ.get(_URL)) as target:
            jobs = [job for job in target.jobs() if flow_name in (None, job.flow)]
        for job in jobs:
            try:
                yield cls(_deployer(job, None))
            except DeploymentNotFound:
                continue

    @classmethod
    def get_triggered_run(
        cls, identifier: str, run_id: str, metadata: str | None = None
    ) -> DagsterTriggeredRun:
        """
        A run that was started by whatever process.

        Parameters
        ----------
        identifier : str
            The deployment, as for `from_deployment`.
        run_id : str
            Metaflow id of the run.
        metadata : str, optional, default None
            As for `from_deployment`.

        Returns
        -------
        DagsterTriggeredRun
            The run.

        Raises
        ------
        MetaflowException
            If there is no such deployment, or Dagster knows no such run of its flow.
        """
        deployer = cls.from_deployment(identifier, metadata).deployer
        with open_target(deployer.url, deployer.env_vars) as target:
            run = known_run(target, deployer.flow_name, run_id)
            url = target.run_url(run.id)
        content = {
            "name": run.job_name,
            "metadata": deployer.metadata,
            "pathspec": f"{deployer.flow_name}/{run.metaflow_run_id}",
            "dagster_run_id": run.id,
            "dagster_url": url,
        }
        return DagsterTriggeredRun(deployer=deployer, content=json.dumps(content))

    @property
    def _file(self) -> Path | None:
        file = self.deployer.additional_info.get("definitions_file")
        return Path(file) if file else None

    @property
    def _job(self) -> DeployedJob:
        location = None if self._file else self.deployer.location
        return DeployedJob(self.flow_name, self.name, self._file, location)

    def _launch(self, command: str, options: Mapping[str, Any]) -> DagsterTriggeredRun:
        target = {
            "name": self.name,
            "definitions_file": str(self._file) if self._file else None,
            "url": self.deployer.url,
            "location": self.deployer.location,
        }
        given = {name: value for name, value in target.items() if value is not None}
        with temporary_fifo() as (path, descriptor):
            attributes = {"deployer_attribute_file": path}
            process = self._start(command, {**given, **attributes, **options}, {})
            try:
                content = handle_timeout(descriptor, process, self.deployer.file_read_timeout)
            except RuntimeError:
                raise launch_error(_output_of(process)) from None  # which has said it before
            process.sync_wait()
        return DagsterTriggeredRun(deployer=self.deployer, content=content)

    def _start(
        self, command: str, options: Mapping[str, Any], environment: Mapping[str, str]
    ) -> Any:
        """Start a command of the flow's `dagster` group."""
        deployer = self.deployer
        group = get_lower_level_group(
            deployer.api, deployer.top_level_kwargs, deployer.TYPE, deployer.deployer_kwargs
        )
        process = deployer.spm.run_command(
            [sys.executable, *getattr(group, command)(**options)],
            env={**deployer.env_vars, **environment},
            cwd=deployer.cwd,
            show_output=deployer.show_output,
        )
        return deployer.spm.get(process)


def _output_of(process: Any) -> str:
    """The error message of a command that failed, without Metaflow's line before it."""
    if process.process.poll() is not None:
        process.sync_wait()  # for the threads that write to the file what it has said
    text = Path(process.log_files["stderr"]).read_text(encoding="utf-8", errors="replace")
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and " executing " not in line
    ]
    return "\n".join(lines) or "The command ended without a word."


def _without_empty(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value}


def _single_value(name: str, *values: str | None) -> str | None:
    """The one value of something that has two names."""
    values_given = {value for value in values if value is not None}
    if len(values_given) > 1:
        raise TypeError(f"resume() got two values for {name}: {' and '.join(sorted(values_given))}")
    return next(iter(values_given), None)


def _text(value: object) -> str:
    """A parameter as the command line takes it."""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _deployer(job: DeployedJob, metadata: str | None) -> DagsterDeployer:
    """The deployer that would have deployed the job."""
    from metaflow import get_metadata
    from metaflow_extensions.dagster.plugins.dagster_deployer import DagsterDeployer

    compiled = read_compiled(job.definitions_file) if job.definitions_file else None
    if compiled is not None:
        deployer = _of_file(DagsterDeployer, compiled)
    else:
        deployer = _of_server(DagsterDeployer, job)
    deployer.name, deployer.flow_name = job.name, job.flow
    deployer.metadata = metadata or get_metadata()
    return deployer


def _of_file(kind: type[DagsterDeployer], compiled: CompiledFile) -> DagsterDeployer:
    if not compiled.flow_file.is_file():
        raise DeploymentNotFound(
            f"{compiled.file} is there, but the file of its flow is not: {compiled.flow_file}. "
            "Bring it back, or compile it again from where it is now."
        )
    root = compiled.datastore_root
    deployer = kind(
        {"name": compiled.record.job},
        flow_file=str(compiled.flow_file),
        metadata=compiled.record.metadata,
        datastore=compiled.record.datastore,
        **({"datastore_root": root} if root else {}),
    )
    deployer.additional_info = {"definitions_file": str(compiled.file)}
    return deployer


def _of_server(kind: type[DagsterDeployer], job: DeployedJob) -> DagsterDeployer:
    url = os.environ[_URL]
    directory = tempfile.TemporaryDirectory(prefix="metaflow-dagster-")
    file = write_stand_in(Path(directory.name), ServerTarget(url).flow(job))
    deployer = kind({"name": job.name, "url": url, "location": job.location}, flow_file=str(file))
    deployer.stand_in = directory  # removed with the deployer
    return deployer
