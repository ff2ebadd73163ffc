"""Loading the job of a flow from its definitions file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_dagster.internals.operation import DagsterLoading
from metaflow_dagster.operate.automations import Automation, Kind
from metaflow_dagster.operate.errors import RunNotStarted, unsupported_dagster
from metaflow_dagster.operate.partitions import JobPartitions, PartitionDimension
from metaflow_dagster.operate.runs import FLOW_TAG

if TYPE_CHECKING:
    from dagster import DagsterInstance, JobDefinition, PartitionsDefinition


REPOSITORY_TAG = ".dagster/repository"  # dagster/_core/storage/tags.py: REPOSITORY_LABEL_TAG


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job with what Dagster records of where it comes from.

    With the same origins as under `dagster dev -f FILE`, the UI finds the job of a run and can
    execute it again.
    """

    definition: JobDefinition
    code_origin: Any  # JobPythonOrigin
    remote_origin: Any  # RemoteJobOrigin

    @property
    def repository_label(self) -> str:
        """What Dagster tags the runs of a repository with, of which it shows partitions."""
        return str(self.remote_origin.repository_origin.get_label())


def load_job(file: Path, flow: str, job_name: str | None) -> LoadedJob:
    """The job of a flow: that of the name, or the only one; `RunNotStarted` says what is wrong."""
    if error := unsupported_dagster(DagsterLoading):
        raise error
    repository = _repository(file)
    jobs = _jobs(repository, file)
    definition = _choose(jobs, file, flow, job_name)
    recon_job = repository.get_reconstructable_job(definition.name)
    return LoadedJob(
        definition,
        recon_job.get_python_origin(),
        _location_origin(file, repository).get_job_origin(definition.name),
    )


def load_automations(file: Path, job_name: str) -> Sequence[Automation]:
    """The schedules and sensors that launch a job of the file."""
    repository = _repository(file).get_definition()
    schedules = [schedule for schedule in repository.schedule_defs if schedule.job_name == job_name]
    sensors = [
        sensor
        for sensor in repository.sensor_defs
        if job_name in {target.job_name for target in sensor.targets}
    ]
    return [
        *(Automation(Kind.SCHEDULE, schedule.name) for schedule in schedules),
        *(Automation(Kind.SENSOR, sensor.name) for sensor in sensors),
    ]


def job_partitions(job: LoadedJob, instance: DagsterInstance) -> JobPartitions:
    """The partitions of a job."""
    from metaflow_dagster.runtime.partitions import dimensions_of

    definition = job.definition.partitions_def
    named = dimensions_of(definition) if definition else {}
    dimensions = [_dimension(name, each, instance) for name, each in named.items()]
    return JobPartitions(job.definition.name, dimensions)


def _dimension(
    name: str, definition: PartitionsDefinition[Any], instance: DagsterInstance
) -> PartitionDimension:
    from dagster import DynamicPartitionsDefinition

    keys = definition.get_partition_keys(dynamic_partitions_store=instance)
    added_to = definition.name if isinstance(definition, DynamicPartitionsDefinition) else None
    return PartitionDimension(name, keys, added_to)


def start_op(job: JobDefinition) -> str:
    """The op of the first step, or the graph that the flow's asset is: nothing is before it."""
    names = [str(node.name) for node in job.nodes if _is_first(node.definition)]
    if len(names) != 1:
        raise RunNotStarted(
            f"The job {job.name} has {len(names)} ops with nothing before them, and one that is "
            "compiled has one. Compile the flow again with `python FLOW.py dagster create`."
        )
    return names[0]


def _is_first(definition: Any) -> bool:
    """Whether nothing that has a value comes before a node; assets that come before have none."""
    return all(given.dagster_type.is_nothing for given in definition.input_defs)


def _repository(file: Path) -> Any:  # ReconstructableRepository
    if not os.path.isfile(file):  # which says so of names that are none, too
        raise RunNotStarted(
            f"There is no definitions file {file}. Compile the flow with "
            "`python FLOW.py dagster create`, or name the file with --definitions-file."
        )
    directory = str(file.parent)
    if not _is_recordable(str(file)):
        raise RunNotStarted(
            f"Dagster cannot record that a run is of {file}, whose name is not UTF-8. Rename the "
            "file or its directory, and compile the flow there."
        )
    try:
        (target,) = DagsterLoading.targets(str(file), directory)
        return DagsterLoading.repository(str(file), target.attribute, directory)
    except (Exception, SystemExit) as error:  # importing a file can raise anything
        raise _not_loaded(file, error) from error


def _is_recordable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _jobs(repository: Any, file: Path) -> Sequence[JobDefinition]:
    try:
        jobs: Sequence[JobDefinition] = repository.get_definition().get_all_jobs()
    except (Exception, SystemExit) as error:  # the definitions may build themselves now
        raise _not_loaded(file, error) from error
    return jobs


def _not_loaded(file: Path, error: BaseException) -> RunNotStarted:
    reason = (str(error).strip().splitlines() or [""])[0]
    return RunNotStarted(
        f"{file} cannot be loaded ({type(error).__name__}: {reason}). "
        "Compile the flow again with `python FLOW.py dagster create`."
    )


def _choose(
    jobs: Sequence[JobDefinition], file: Path, flow: str, job_name: str | None
) -> JobDefinition:
    of_flow = {job.name: job for job in jobs if job.run_tags.get(FLOW_TAG) == flow}
    names = ", ".join(sorted(of_flow))
    if not of_flow:
        raise RunNotStarted(
            f"{file} has no job of the flow {flow}. Name its file with --definitions-file."
        )
    if job_name is not None and job_name not in of_flow:
        raise RunNotStarted(
            f"{file} has no job {job_name} of the flow {flow}. Name one that it has: {names}."
        )
    if job_name is None and len(of_flow) > 1:
        raise RunNotStarted(
            f"{file} has several jobs of the flow {flow}. Choose one with --name: {names}."
        )
    return of_flow[job_name] if job_name is not None else next(iter(of_flow.values()))


def _location_origin(file: Path, repository: Any) -> Any:
    """The origin of the repository, as `dagster dev -f FILE` would have it."""
    location = DagsterLoading.location(str(file), None, str(file.parent))
    return DagsterLoading.remote_repository(location, repository.get_definition().name)
