"""Dagster on this machine: a home directory with the history, and a process for each run.

The runs are ordinary runs of Dagster: `dagster dev` with the same home shows them, terminates
them and executes them again. Neither its webserver nor its daemon need be up.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_dagster.events import asset_path
from metaflow_dagster.internals.operation import DagsterCancellation, DagsterHome, DagsterRunProcess
from metaflow_dagster.operate.automations import Automation, Change
from metaflow_dagster.operate.backfill import Backfill, LaunchingBackfill
from metaflow_dagster.operate.definitions import (
    REPOSITORY_TAG,
    LoadedJob,
    job_partitions,
    load_automations,
    load_job,
    start_op,
)
from metaflow_dagster.operate.deployed import DeployedJob, noted_deployments
from metaflow_dagster.operate.errors import (
    DagsterUnavailable,
    EventNotPublished,
    NotSwitched,
    RunNotFound,
    RunNotStarted,
    config_refused,
    run_not_kept,
    unsupported_dagster,
)
from metaflow_dagster.operate.home import alone_in
from metaflow_dagster.operate.partitions import JobPartitions
from metaflow_dagster.operate.payload import Plain
from metaflow_dagster.operate.runs import (
    FOREACH_ITEMS,
    PARTITION_TAG,
    RUN_ID_TAG,
    RUNS_AT_ONCE,
    DagsterRun,
    Event,
    ItemsFound,
    Launch,
    Launched,
    RunFailed,
    StepChange,
    StepChanged,
    chained_reason,
)
from metaflow_dagster.operate.worker import (
    log_file,
    remove_lock,
    start_worker,
    worker_has_died,
)
from metaflow_dagster.runtime.tasks import metaflow_run_id
from metaflow_dagster.shell import shell_word

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance

_SECONDS_TO_START = 120.0
_SECONDS_BETWEEN_LOOKS = 0.2

_CHANGES = {
    "STEP_START": StepChange.STARTED,
    "STEP_RESTARTED": StepChange.STARTED,
    "STEP_UP_FOR_RETRY": StepChange.RETRIED,
    "STEP_SUCCESS": StepChange.SUCCEEDED,
    "STEP_SKIPPED": StepChange.SKIPPED,
}


class EmbeddedTarget:
    """The Dagster with a home directory on this machine."""

    def __init__(self, instance: DagsterInstance, home: Path) -> None:
        self._instance = instance
        self._home = home

    @classmethod
    @contextmanager
    def open(cls, home: Path) -> Iterator[EmbeddedTarget]:
        """The target, for as long as its history is open."""
        with _open_instance(home) as instance, _history_of(home):
            yield cls(instance, home)

    def launch(self, launch: Launch) -> Launched:
        """Record a run and start the process that executes it."""
        file = launch.job.definitions_file.absolute()
        job = load_job(file, launch.flow, launch.job.name)
        run_id = self._create_run(launch, job)
        self._await_start(run_id, start_worker(self._home, run_id))
        return Launched(run_id, job.definition.name, tuple(self._directions(run_id, file)))

    def run(self, dagster_run_id: str) -> DagsterRun:
        """The present state of a run; a run whose process was killed has failed."""
        run = self._instance.get_run_by_id(dagster_run_id)
        if run is not None and not run.is_finished and worker_has_died(self._home, run.run_id):
            # It may have come to its end in between.
            run = self._instance.get_run_by_id(dagster_run_id)
            if run is not None and not run.is_finished:
                self._instance.report_run_failed(run, "The process of the run was killed.")
            remove_lock(self._home, dagster_run_id)
        record = self._instance.get_run_record_by_id(dagster_run_id)
        if record is None:
            raise RunNotFound(f"The Dagster run {dagster_run_id} has been deleted.")
        return _dagster_run(record)

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """The events of a run since a cursor, and the next cursor."""
        page = self._instance.get_records_for_run(dagster_run_id, cursor=cursor)
        recorded = (record.event_log_entry.dagster_event for record in page.records)
        events = [
            event
            for dagster_event in recorded
            if dagster_event is not None
            for event in _events(dagster_event)
        ]
        return events, page.cursor

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        """Runs with a tag, the latest first."""
        from dagster import RunsFilter

        records = self._instance.get_run_records(RunsFilter(tags={key: value}), limit=limit)
        return [
            _dagster_run(record)
            if record.dagster_run.is_finished
            else self.run(record.dagster_run.run_id)
            for record in records
        ]

    def terminate(self, run: DagsterRun) -> None:
        """Ask for the end of a run; its process looks for that."""
        recorded = self._instance.get_run_by_id(run.id)
        if recorded is None or recorded.is_finished:
            return
        if log_file(self._home, run.id).exists():
            self._instance.report_run_canceling(recorded)
        else:  # launched by a webserver or daemon with the same home
            self._instance.run_coordinator.cancel_run(run.id)

    def switch(self, launch: Launch, change: Change) -> Sequence[Automation]:
        """Turn the schedules and sensors of a job off or on, by Dagster's own commands.

        They launch runs while Dagster's daemon is up with this home, which `dagster dev` starts.
        """
        file = launch.job.definitions_file.absolute()
        job = load_job(file, launch.flow, launch.job.name)
        automations = load_automations(file, job.definition.name)
        for automation in automations:
            self._switch(file, automation, change)
        return automations

    def publish(self, event: str, payload: Mapping[str, Plain]) -> str:
        """Record an event in the history."""
        from dagster import AssetKey, AssetMaterialization

        materialization = AssetMaterialization(AssetKey(asset_path(event)), metadata=payload)
        try:
            self._instance.report_runless_asset_event(materialization)
        except _storage_errors() as error:
            raise EventNotPublished(
                f"The history in {self._home} cannot be written: {_first_line(error)}. If another "
                "process is writing, try again."
            ) from error
        return f"in {self._home}"

    def jobs(self) -> Sequence[DeployedJob]:
        """The jobs that `dagster create` has noted in the home."""
        return noted_deployments(self._home)

    def run_url(self, dagster_run_id: str) -> str | None:
        """None: whether `dagster dev` runs, and on which port, is up to the user."""
        return None

    def _create_run(self, launch: Launch, job: LoadedJob) -> str:
        from dagster import DagsterInvalidConfigError
        from sqlalchemy.exc import DataError

        run_id = str(uuid.uuid4())
        own_tags = {RUN_ID_TAG: metaflow_run_id(run_id), **self._partition_tags(launch, job)}
        try:
            self._instance.create_run_for_job(
                job_def=job.definition,
                run_id=run_id,
                run_config=launch.run_config(start_op(job.definition)),
                tags={**job.definition.run_tags, **launch.tags, **own_tags},
                remote_job_origin=job.remote_origin,
                job_code_origin=job.code_origin,
            )
        except DagsterInvalidConfigError as error:
            raise config_refused([problem.message for problem in error.errors]) from error
        except DataError as error:
            raise run_not_kept(f"in {self._home}", _first_line(error)) from error
        return run_id

    def partitions(self, launch: Launch) -> JobPartitions:
        """The partitions of the job that a run would be launched of."""
        file = launch.job.definitions_file.absolute()
        return job_partitions(load_job(file, launch.flow, launch.job.name), self._instance)

    def runs_of(self, job_name: str) -> Iterator[DagsterRun]:
        """The runs of a job that have a partition, the latest first."""
        from dagster import RunsFilter

        wanted, cursor = RunsFilter(job_name=job_name), None
        while records := self._instance.get_run_records(wanted, RUNS_AT_ONCE, cursor=cursor):
            for record in records:
                if PARTITION_TAG in record.dagster_run.tags:
                    yield _dagster_run(record)
            cursor = records[-1].dagster_run.run_id

    def backfill(self, launch: Launch, keys: Sequence[str]) -> Backfill:
        """Launch a run for each partition, a few at once, for as long as somebody waits for it."""
        return LaunchingBackfill(self, launch, keys)

    def _partition_tags(self, launch: Launch, job: LoadedJob) -> Mapping[str, str]:
        """The tags of a run of a partition, which is added if it is one that can be."""

        def add(name: str, key: str) -> None:
            self._instance.add_dynamic_partitions(name, [key])

        tags = job_partitions(job, self._instance).run_tags(launch, add)
        return {**tags, REPOSITORY_TAG: job.repository_label} if tags else {}

    def _await_start(self, run_id: str, worker: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._has_started(run_id):
            if worker.poll() is not None and not self._has_started(run_id):
                self._give_up(run_id, "The process of the run ended before the run could start.")
            if time.monotonic() > deadline:
                worker.kill()
                self._give_up(run_id, "The process of the run did not start the run in time.")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _has_started(self, run_id: str) -> bool:
        from dagster import DagsterRunStatus

        run = self._instance.get_run_by_id(run_id)
        return run is not None and (run.is_finished or run.status is DagsterRunStatus.STARTED)

    def _give_up(self, run_id: str, reason: str) -> None:
        run = self._instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            self._instance.report_run_failed(run, reason)
        if error := unsupported_dagster(DagsterRunProcess, DagsterCancellation):
            raise error
        raise RunNotStarted(f"{reason} See {log_file(self._home, run_id)}.")

    def _switch(self, file: Path, automation: Automation, change: Change) -> None:
        words = [automation.kind.value, change.value, automation.name]
        result = subprocess.run(
            [sys.executable, "-m", "dagster", *words, "-f", str(file), "-d", str(file.parent)],
            env={**os.environ, "DAGSTER_HOME": str(self._home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if result.returncode != 0:
            output = (result.stderr or result.stdout).strip().splitlines() or [""]
            raise NotSwitched(
                f"`dagster {' '.join(words)}` has failed ({output[-1]}). Try it by hand:\n"
                f"    DAGSTER_HOME={shell_word(str(self._home))} dagster {shlex.join(words)} "
                f"-f {shell_word(str(file))}"
            )

    def _directions(self, run_id: str, file: Path) -> Iterator[str]:
        home = shell_word(str(self._home))
        yield f"Its history is in {self._home}; to see it in Dagster's UI:"
        yield f"    DAGSTER_HOME={home} dagster dev -f {shell_word(str(file))}"
        yield f"Dagster's messages: {log_file(self._home, run_id)}"


def _open_instance(home: Path) -> DagsterInstance:
    """Dagster with a home, whose databases are there and can be read."""
    from dagster import DagsterInstance

    try:
        with alone_in(home):
            instance = DagsterInstance.from_config(str(home))
            _ = instance.event_log_storage  # is opened, or made, when it is first asked for
    except _configuration_errors() as error:
        raise DagsterUnavailable(
            f"The configuration or history in {home} cannot be used: {error}. Fix its "
            "dagster.yaml, or set DAGSTER_HOME to another directory."
        ) from error
    return instance


def _configuration_errors() -> tuple[type[Exception], ...]:
    """The errors of opening a home, whose dagster.yaml names classes to import and to construct."""
    from alembic.util import CommandError
    from dagster import DagsterError
    from sqlalchemy.exc import SQLAlchemyError
    from yaml import YAMLError  # type: ignore[import-untyped]

    first = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError)
    others = (OSError, RuntimeError, SyntaxError, TypeError, ValueError)
    check_error: type[Exception] = DagsterHome.check_error.get()
    return (*first, *others, check_error, CommandError, DagsterError, SQLAlchemyError, YAMLError)


@contextmanager
def _history_of(home: Path) -> Iterator[None]:
    """Say so if the databases of a home cannot be used, of which Dagster looks at a part first."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise DagsterUnavailable(
            f"The history in {home} cannot be used: {_first_line(error)}. Fix its databases, or "
            "set DAGSTER_HOME to another directory."
        ) from error


def _storage_errors() -> tuple[type[Exception], ...]:
    """The errors that Dagster's storages raise."""
    from alembic.util import CommandError
    from dagster import DagsterError
    from sqlalchemy.exc import SQLAlchemyError

    return (DagsterError, CommandError, SQLAlchemyError)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _dagster_run(record: Any) -> DagsterRun:
    run = record.dagster_run
    return DagsterRun(
        id=run.run_id,
        job_name=run.job_name,
        status=run.status.value,
        tags=dict(run.tags),
        run_config=dict(run.run_config),
        started=record.start_time,
        ended=record.end_time,
    )


def _events(event: DagsterEvent) -> Iterator[Event]:
    kind, key = event.event_type_value, event.step_key or ""
    if kind in _CHANGES:
        yield StepChanged(key, _CHANGES[kind])
    elif kind == "STEP_FAILURE":
        yield StepChanged(key, StepChange.FAILED, _reason(event))
    elif kind == "STEP_OUTPUT":
        items = event.step_output_data.metadata.get(FOREACH_ITEMS)
        if items is not None:
            yield ItemsFound(key, int(str(items.value)))
    elif kind == "PIPELINE_FAILURE":
        # There is no data where the run was recorded as failed.
        error = getattr(event.event_specific_data, "error", None)
        reason = chained_reason(_causes(error)) if error else ""
        yield RunFailed("\n".join(filter(None, [event.message, reason])))


def _reason(event: DagsterEvent) -> str:
    """Why a step failed: what its op says, or else the exception and what has caused it."""
    data = event.step_failure_data
    said = data.user_failure_data.description if data.user_failure_data else None
    return said or chained_reason(_causes(data.error))


def _causes(error: Any) -> Iterator[tuple[str, str]]:
    """Class and message of an error, and of what has caused it."""
    while error is not None:
        yield error.cls_name or "", error.message
        error = error.cause
