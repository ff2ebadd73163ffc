"""Dagster behind a webserver, through its GraphQL with Dagster's own client.

Events are published without that client, which need not be installed for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from metaflow_dagster.events import asset_path
from metaflow_dagster.internals.operation import DagsterClient
from metaflow_dagster.operate.address import Address
from metaflow_dagster.operate.answers import AnswerLost, looked_for, lost_answer
from metaflow_dagster.operate.automations import Automation, Change, Kind
from metaflow_dagster.operate.backfill import Backfill
from metaflow_dagster.operate.deployed import DeployedJob
from metaflow_dagster.operate.errors import (
    DagsterUnavailable,
    LaunchNotKnown,
    NotSwitched,
    RunNotFound,
    RunNotStarted,
    RunNotTerminated,
    config_refused,
    run_not_kept,
    unreachable,
)
from metaflow_dagster.operate.partitions import JobPartitions
from metaflow_dagster.operate.payload import Plain
from metaflow_dagster.operate.queries import (
    AUTOMATIONS,
    CONFIG,
    EVENTS,
    JOBS,
    RUN,
    RUNS,
    START_SCHEDULE,
    START_SENSOR,
    STOP_SCHEDULE,
    STOP_SENSOR,
)
from metaflow_dagster.operate.rest import SECONDS_TO_ANSWER, report_materialization
from metaflow_dagster.operate.runs import (
    LAUNCH_TAG,
    DagsterRun,
    Event,
    Launch,
    Launched,
)
from metaflow_dagster.operate.served import (
    ServedFlow,
    ServedJob,
    dagster_run,
    run_events,
    served_automations,
    served_jobs,
    served_parameters,
)
from metaflow_dagster.operate.served_partitions import ServedPartitions

if TYPE_CHECKING:
    from dagster_graphql import DagsterGraphQLClient

_SWITCHES = {
    (Kind.SCHEDULE, Change.SUSPEND): STOP_SCHEDULE,
    (Kind.SCHEDULE, Change.UNSUSPEND): START_SCHEDULE,
    (Kind.SENSOR, Change.SUSPEND): STOP_SENSOR,
    (Kind.SENSOR, Change.UNSUSPEND): START_SENSOR,
}


class ServerTarget:
    """The Dagster behind the webserver at a URL."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self._url = self._address.public

    @cached_property
    def _client(self) -> DagsterGraphQLClient:
        return _client(self._address)

    def launch(self, launch: Launch) -> Launched:
        """Have the server launch a run of a job that it has loaded.

        The run carries a key, by which it is found if the answer of the server is lost.

        Raises
        ------
        RunNotStarted
            If there is no run.
        LaunchNotKnown
            If the answer is lost and the server does not say whether it has such a run.
        """
        job = self._job(launch)
        _check_json(launch)
        key = str(uuid.uuid4())
        own_tags = {LAUNCH_TAG: key, **self._partitions.tags(launch, job)}
        tagged = replace(launch, tags={**launch.tags, **own_tags})
        run_id = self._submitted(job, tagged, key)
        run_url = self.run_url(run_id)
        return Launched(run_id, job.name, (f"See it in Dagster's UI: {run_url}",), run_url)

    def partitions(self, launch: Launch) -> JobPartitions:
        """The partitions of the job that a run would be launched of."""
        return self._partitions.of(self._job(launch))

    def runs_of(self, job_name: str) -> Iterator[DagsterRun]:
        """The runs of a job that have a partition, the latest first."""
        return self._partitions.runs_of(job_name)

    def backfill(self, launch: Launch, keys: Sequence[str]) -> Backfill:
        """Have Dagster's daemon launch a run for each partition."""
        _check_json(launch)
        return self._partitions.backfill(self._job(launch), launch, keys)

    @property
    def _partitions(self) -> ServedPartitions:
        return ServedPartitions(self._ask, self._url)

    def _submitted(self, job: ServedJob, launch: Launch, key: str) -> str:
        """The Dagster id of the run, as the server answers or as it is found by its key."""
        client = self._client
        from dagster_graphql import DagsterGraphQLClientError

        try:
            return client.submit_job_execution(
                job.name,
                repository_location_name=job.location,
                repository_name=job.repository,
                run_config=launch.run_config(job.start_op),
                tags=dict(launch.tags),
            )
        except DagsterGraphQLClientError as error:
            reason = lost_answer(error)
            if reason is None:
                raise _not_launched(error, self._url) from error
        return self._launched_as(key, reason)

    def _launched_as(self, key: str, reason: str) -> str:
        """The run of a launch whose answer is lost."""
        try:
            run = looked_for(lambda: next(iter(self.runs_tagged(LAUNCH_TAG, key, 1)), None))
        except DagsterUnavailable as error:
            raise LaunchNotKnown(
                f"The answer of the Dagster at {self._url} is lost ({reason}), and it cannot be "
                f"asked again. Before you launch the run again, look whether it has one with the "
                f"tag {LAUNCH_TAG}={key}: {self._url}/runs?q=tag:{LAUNCH_TAG}={key}."
            ) from error
        if run is None:
            raise RunNotStarted(
                f"The answer of the Dagster at {self._url} is lost ({reason}), and some seconds "
                f"later it has no such run. Should it come to it nevertheless, that has the tag "
                f"{LAUNCH_TAG}={key}."
            )
        return run.id

    def run(self, dagster_run_id: str) -> DagsterRun:
        """The present state of a run."""
        answer = self._ask(RUN, {"runId": dagster_run_id})["runOrError"]
        if answer["__typename"] != "Run":
            raise RunNotFound(
                f"The Dagster at {self._url} has no run {dagster_run_id}; it may have been deleted."
            )
        return dagster_run(answer)

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """The events of a run since a cursor, and the next cursor."""
        answer = self._ask(EVENTS, {"runId": dagster_run_id, "cursor": cursor})["logsForRun"]
        if answer["__typename"] != "EventConnection":
            raise RunNotFound(f"The Dagster at {self._url} has no events of {dagster_run_id}.")
        events = [event for message in answer["events"] for event in run_events(message)]
        return events, answer["cursor"]

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        """Runs with a tag, the latest first."""
        tagged = {"tags": [{"key": key, "value": value}]}
        answer = self._ask(RUNS, {"filter": tagged, "limit": limit})["runsOrError"]
        return [dagster_run(run) for run in answer.get("results", ())]

    def terminate(self, run: DagsterRun) -> None:
        """Have the server terminate a run."""
        client = self._client
        from dagster_graphql import DagsterGraphQLClientError

        try:
            client.terminate_run(run.id)
        except DagsterGraphQLClientError as error:
            lost = lost_answer(error)
            if lost and looked_for(lambda: self._ending(run.id)):
                return
            reason = (
                f"its answer is lost ({lost}), and the run goes on." if lost else _reason(error)
            )
            raise RunNotTerminated(
                f"The Dagster at {self._url} does not terminate {run.metaflow_run_id}: "
                f"{reason} See {self.run_url(run.id)}."
            ) from error

    def _ending(self, dagster_run_id: str) -> DagsterRun | None:
        """The run, if it has ended or is about to."""
        run = self.run(dagster_run_id)
        return run if run.phase.is_finished or run.status == "CANCELING" else None

    def switch(self, launch: Launch, change: Change) -> Sequence[Automation]:
        """Have the server turn the schedules and sensors of a job off or on."""
        job = self._job(launch)
        automations = self._automations_of(job)
        for automation in automations:
            self._switch(automation, change, job)
        return automations

    def _automations_of(self, job: ServedJob) -> Sequence[Automation]:
        answer = self._ask(AUTOMATIONS, {"selector": job.selector()})["repositoryOrError"]
        return list(served_automations(answer, job.name))

    def _switch(self, automation: Automation, change: Change, job: ServedJob) -> None:
        selector = {**job.selector(), f"{automation.kind.value}Name": automation.name}
        match change:
            case Change.SUSPEND:
                variables: Mapping[str, object] = {"id": automation.state_id}
            case Change.UNSUSPEND:
                variables = {"selector": selector}
            case _:
                assert_never(change)
        try:
            answer = self._ask(_SWITCHES[automation.kind, change], variables)["changed"]
        except AnswerLost as error:
            if looked_for(lambda: self._is_switched(automation, change, job)):
                return
            answer = {
                "__typename": "Error",
                "message": _unanswered(error.reason, "nothing has changed"),
            }
        if answer["__typename"].endswith("Error"):
            message = answer.get("message") or answer["__typename"]
            raise NotSwitched(
                f"The Dagster at {self._url} does not {change.value} the {automation}: {message} "
                "See Automation in its UI."
            )

    def _is_switched(self, automation: Automation, change: Change, job: ServedJob) -> bool | None:
        """True if it is as it was to become, else None."""
        states = {(entry.kind, entry.name): entry.status for entry in self._automations_of(job)}
        return states.get((automation.kind, automation.name)) == change.status or None

    def publish(self, event: str, payload: Mapping[str, Plain]) -> str:
        """Have the server record an event."""
        report_materialization(self._address, asset_path(event), payload)
        return f"at {self._url}"

    def jobs(self) -> Sequence[DeployedJob]:
        """The jobs of compiled flows that the server has loaded."""
        served = served_jobs(self._ask(JOBS, {}))
        return [DeployedJob(job.flow, job.name, location=job.location) for job in served]

    def run_url(self, dagster_run_id: str) -> str:
        """The page of the run."""
        return f"{self._url}/runs/{dagster_run_id}"

    def flow(self, job: DeployedJob) -> ServedFlow:
        """The flow of a job."""
        (served,) = (
            candidate
            for candidate in served_jobs(self._ask(JOBS, {}))
            if (candidate.name, candidate.location) == (job.name, job.location)
        )
        selector = {
            "pipelineName": served.name,
            "repositoryName": served.repository,
            "repositoryLocationName": served.location,
        }
        answer = self._ask(CONFIG, {"selector": selector})["runConfigSchemaOrError"]
        parameters = tuple(served_parameters(answer, served.start_op))
        return ServedFlow(served.flow, parameters, served.steps)

    def _ask(self, query: str, variables: Mapping[str, object]) -> Any:
        client = self._client
        from dagster_graphql import DagsterGraphQLClientError

        try:
            # Its public methods do not cover these questions, and it speaks to its transport as
            # each version of that has to be spoken to.
            return DagsterClient.execute(client, query, dict(variables))
        except DagsterGraphQLClientError as error:
            if (lost := lost_answer(error)) is not None:
                raise AnswerLost(self._url, lost) from error
            raise unreachable(self._url, error.__cause__ or error) from error

    def _job(self, launch: Launch) -> ServedJob:
        answer = self._ask(JOBS, {})
        jobs = list(served_jobs(answer))
        meant = [job for job in jobs if _is_match(job, launch)]
        if len(meant) == 1:
            return meant[0]
        what = f"job {launch.job.name}" if launch.job.name else "job"
        if meant:
            raise RunNotStarted(
                f"The Dagster at {self._url} has more than one {what} of the flow {launch.flow}. "
                f"Choose one with --name and --location: {_job_names(meant)}."
            )
        where = f" in the location {launch.job.location}" if launch.job.location else ""
        raise RunNotStarted(
            f"The Dagster at {self._url} has no {what} of the flow {launch.flow}{where}. "
            + _jobs_or_errors(launch.flow, jobs, answer)
        )


def _client(address: Address) -> DagsterGraphQLClient:
    try:
        from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
    except ImportError as error:
        raise DagsterUnavailable(
            "A Dagster webserver is talked to with the package dagster-graphql, which is not "
            "installed. Install it: pip install dagster-graphql."
        ) from error
    try:
        return DagsterGraphQLClient(
            address.place,
            use_https=address.is_encrypted,
            timeout=SECONDS_TO_ANSWER,
        )
    except DagsterGraphQLClientError as error:
        raise unreachable(address.public, error.__cause__ or error) from error


def _check_json(launch: Launch) -> None:
    """Refuse what a webserver cannot be told, as JSON has no such values."""
    for name, value in launch.parameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise RunNotStarted(
                f"The parameter {name} is or has a number that JSON does not know (nan, inf or "
                "-inf), so that no webserver can be given it. Start the run without --url, or let "
                "the flow take such a value as a text."
            ) from error


def _not_launched(error: Exception, url: str) -> RunNotStarted:
    match error.args:
        case ("RunConfigValidationInvalid" | "PipelineConfigValidationInvalid", [*reasons]):
            return config_refused([reason["message"] for reason in reasons])
        case (_, str(said)) if said.startswith("sqlalchemy.exc.DataError"):
            return run_not_kept(f"at {url}", _reason(error))
        case _:
            return RunNotStarted(f"The Dagster at {url} did not launch the run: {_reason(error)}")


def _unanswered(reason: str, seen: str) -> str:
    return f"its answer is lost ({reason}), and {seen}."


def _reason(error: Exception) -> str:
    """The first line of a server's error, which Dagster's client gives as kind and message."""
    return str(error.args[-1]).strip().splitlines()[0]


def _is_match(job: ServedJob, launch: Launch) -> bool:
    return (
        job.flow == launch.flow
        and launch.job.name in (None, job.name)
        and launch.job.location in (None, job.location)
    )


def _jobs_or_errors(flow: str, jobs: Sequence[ServedJob], answer: Any) -> str:
    """The hint to a user whose job was not found: the jobs or broken locations that there are."""
    of_flow = [job for job in jobs if job.flow == flow]
    if of_flow:
        return f"Of this flow it has: {_job_names(of_flow)}. Choose with --name and --location."
    broken = [
        entry["name"]
        for entry in answer["workspaceOrError"].get("locationEntries", ())
        if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"
    ]
    if broken:
        return f"It cannot load {', '.join(broken)}: see Deployment in its UI, and reload."
    return (
        "Compile the flow with `python FLOW.py dagster create`, add the file to the locations of "
        "that Dagster, and reload them in its UI."
    )


def _job_names(jobs: Sequence[ServedJob]) -> str:
    return ", ".join(sorted(f"{job.name} in {job.location}" for job in jobs))
