"""Dagster behind a webserver, through its GraphQL with Dagster's own client.

Events are published without that client, which need not be installed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from metaflow_dagster.events import asset_path
from metaflow_dagster.operate.address import Address
from metaflow_dagster.operate.automations import Automation, Change, Kind
from metaflow_dagster.operate.deployed import DeployedJob
from metaflow_dagster.operate.errors import (
    DagsterUnavailable,
    NotSwitched,
    RunNotFound,
    RunNotStarted,
    RunNotTerminated,
    config_refused,
    run_not_kept,
    unreachable,
)
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
    FLOW_TAG,
    FOREACH_ITEMS,
    DagsterRun,
    Event,
    ItemsFound,
    Launch,
    Launched,
    RunFailed,
    StepChange,
    StepChanged,
)

if TYPE_CHECKING:
    from dagster_graphql import DagsterGraphQLClient

_SWITCHES = {
    (Kind.SCHEDULE, Change.SUSPEND): STOP_SCHEDULE,
    (Kind.SCHEDULE, Change.UNSUSPEND): START_SCHEDULE,
    (Kind.SENSOR, Change.SUSPEND): STOP_SENSOR,
    (Kind.SENSOR, Change.UNSUSPEND): START_SENSOR,
}

_CHANGES = {
    "ExecutionStepStartEvent": StepChange.STARTED,
    "ExecutionStepRestartEvent": StepChange.STARTED,
    "ExecutionStepUpForRetryEvent": StepChange.RETRIED,
    "ExecutionStepSuccessEvent": StepChange.SUCCEEDED,
    "ExecutionStepSkippedEvent": StepChange.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class ServedJob:
    """A job that the server has loaded."""

    name: str
    location: str
    repository: str
    flow: str
    start_op: str


@dataclass(frozen=True, slots=True)
class ServedParameter:
    """A parameter of a job that a server has loaded; `kind` is Dagster's name of its type."""

    name: str
    kind: str
    is_required: bool


class ServerTarget:
    """The Dagster behind the webserver at a URL."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self._url = self._address.public

    @cached_property
    def _client(self) -> DagsterGraphQLClient:
        return _client(self._address)

    def launch(self, launch: Launch) -> Launched:
        """Have the server launch a run of a job that it has loaded."""
        job = self._job(launch)
        from dagster_graphql import DagsterGraphQLClientError

        try:
            run_id = self._client.submit_job_execution(
                job.name,
                repository_location_name=job.location,
                repository_name=job.repository,
                run_config=launch.run_config(job.start_op),
                tags=dict(launch.tags),
            )
        except DagsterGraphQLClientError as error:
            raise _not_launched(error, self._url) from error
        run_url = self.run_url(run_id)
        return Launched(run_id, job.name, (f"See it in Dagster's UI: {run_url}",), run_url)

    def run(self, dagster_run_id: str) -> DagsterRun:
        """The present state of a run."""
        answer = self._ask(RUN, {"runId": dagster_run_id})["runOrError"]
        if answer["__typename"] != "Run":
            raise RunNotFound(
                f"The Dagster at {self._url} has no run {dagster_run_id}; it may have been deleted."
            )
        return _dagster_run(answer)

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """What has happened in a run since a cursor, and the next cursor."""
        answer = self._ask(EVENTS, {"runId": dagster_run_id, "cursor": cursor})["logsForRun"]
        if answer["__typename"] != "EventConnection":
            raise RunNotFound(f"The Dagster at {self._url} has no events of {dagster_run_id}.")
        events = [event for one in answer["events"] for event in _events(one)]
        return events, answer["cursor"]

    def runs_tagged(self, key: str, value: str, limit: int) -> Sequence[DagsterRun]:
        """Runs with a tag, the latest first."""
        tagged = {"tags": [{"key": key, "value": value}]}
        answer = self._ask(RUNS, {"filter": tagged, "limit": limit})["runsOrError"]
        return [_dagster_run(one) for one in answer.get("results", ())]

    def terminate(self, run: DagsterRun) -> None:
        """Have the server terminate a run."""
        client = self._client
        from dagster_graphql import DagsterGraphQLClientError

        try:
            client.terminate_run(run.id)
        except DagsterGraphQLClientError as error:
            raise RunNotTerminated(
                f"The Dagster at {self._url} does not terminate {run.metaflow_run_id}: "
                f"{_reason(error)} See {self.run_url(run.id)}."
            ) from error

    def switch(self, launch: Launch, change: Change) -> Sequence[Automation]:
        """Have the server turn the schedules and sensors of a job off or on."""
        job = self._job(launch)
        selector = {
            "repositoryName": job.repository,
            "repositoryLocationName": job.location,
        }
        answer = self._ask(AUTOMATIONS, {"selector": selector})["repositoryOrError"]
        automations = list(_automations(answer, job.name))
        for automation in automations:
            self._switch(automation, change, selector)
        return automations

    def _switch(
        self, automation: Automation, change: Change, repository: Mapping[str, str]
    ) -> None:
        selector = {**repository, f"{automation.kind.value}Name": automation.name}
        match change:
            case Change.SUSPEND:
                variables: Mapping[str, object] = {"id": automation.state_id}
            case Change.UNSUSPEND:
                variables = {"selector": selector}
            case _:
                assert_never(change)
        answer = self._ask(_SWITCHES[automation.kind, change], variables)["changed"]
        if answer["__typename"].endswith("Error"):
            said = answer.get("message") or answer["__typename"]
            raise NotSwitched(
                f"The Dagster at {self._url} does not {change.value} the {automation}: {said} "
                "See Automation in its UI."
            )

    def publish(self, event: str, payload: Mapping[str, Plain]) -> str:
        """Have the server record an event."""
        report_materialization(self._address, asset_path(event), payload)
        return f"at {self._url}"

    def jobs(self) -> Sequence[DeployedJob]:
        """The jobs of compiled flows that the server has loaded."""
        served = _served_jobs(self._ask(JOBS, {}))
        return [DeployedJob(one.flow, one.name, location=one.location) for one in served]

    def run_url(self, dagster_run_id: str) -> str:
        """The page of the run."""
        return f"{self._url}/runs/{dagster_run_id}"

    def parameters(self, job: DeployedJob) -> Sequence[ServedParameter]:
        """The parameters that a job takes."""
        (served,) = (
            one
            for one in _served_jobs(self._ask(JOBS, {}))
            if (one.name, one.location) == (job.name, job.location)
        )
        selector = {
            "pipelineName": served.name,
            "repositoryName": served.repository,
            "repositoryLocationName": served.location,
        }
        answer = self._ask(CONFIG, {"selector": selector})["runConfigSchemaOrError"]
        return list(_parameters(answer, served.start_op))

    def _ask(self, query: str, variables: Mapping[str, object]) -> Any:
        client = self._client
        from dagster_graphql import DagsterGraphQLClientError

        try:
            # Its public methods do not cover these questions, and it speaks to its transport as
            # each version of that has to be spoken to.
            return client._execute(query, dict(variables))
        except DagsterGraphQLClientError as error:
            raise unreachable(self._url, error.__cause__ or error) from error

    def _job(self, launch: Launch) -> ServedJob:
        answer = self._ask(JOBS, {})
        jobs = list(_served_jobs(answer))
        wanted = [job for job in jobs if _is_meant(job, launch)]
        if len(wanted) == 1:
            return wanted[0]
        what = f"job {launch.job.name}" if launch.job.name else "job"
        if wanted:
            raise RunNotStarted(
                f"The Dagster at {self._url} has more than one {what} of the flow {launch.flow}. "
                f"Choose one with --name and --location: {_listed(wanted)}."
            )
        where = f" in the location {launch.job.location}" if launch.job.location else ""
        raise RunNotStarted(
            f"The Dagster at {self._url} has no {what} of the flow {launch.flow}{where}. "
            + _what_it_has(launch.flow, jobs, answer)
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


def _not_launched(error: Exception, url: str) -> RunNotStarted:
    match error.args:
        case ("RunConfigValidationInvalid" | "PipelineConfigValidationInvalid", [*reasons]):
            return config_refused([reason["message"] for reason in reasons])
        case (_, str(said)) if said.startswith("sqlalchemy.exc.DataError"):
            return run_not_kept(f"at {url}", _reason(error))
        case _:
            return RunNotStarted(f"The Dagster at {url} did not launch the run: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What the server says, which Dagster's client gives as kind and message."""
    return str(error.args[-1]).strip().splitlines()[0]


def _served_jobs(answer: Any) -> Iterator[ServedJob]:
    for repository in answer["repositoriesOrError"].get("nodes", ()):
        for job in repository["pipelines"]:
            starts = [op["name"] for op in job["solids"] if not op["inputs"]]
            tags = {tag["key"]: tag["value"] for tag in job["tags"]}
            if FLOW_TAG in tags and len(starts) == 1:
                yield ServedJob(
                    job["name"],
                    repository["location"]["name"],
                    repository["name"],
                    tags[FLOW_TAG],
                    starts[0],
                )


def _parameters(schema: Any, start_op: str) -> Iterator[ServedParameter]:
    """The fields of the configuration of the first op."""
    fields = {one["key"]: one.get("fields") or () for one in schema.get("allConfigTypes", ())}
    key = schema["rootConfigType"]["key"] if fields else ""
    for part in ("ops", start_op, "config"):
        key = next((one["configTypeKey"] for one in fields.get(key, ()) if one["name"] == part), "")
    for field in fields.get(key, ()):
        kind = field["configTypeKey"].removeprefix("Noneable.")
        yield ServedParameter(field["name"], kind, field["isRequired"])


def _automations(repository: Any, job_name: str) -> Iterator[Automation]:
    for one in repository.get("schedules", ()):
        if one["pipelineName"] == job_name:
            yield Automation(Kind.SCHEDULE, one["name"], one["scheduleState"]["id"])
    for one in repository.get("sensors", ()):
        if job_name in {target["pipelineName"] for target in one["targets"] or ()}:
            yield Automation(Kind.SENSOR, one["name"], one["sensorState"]["id"])


def _is_meant(job: ServedJob, launch: Launch) -> bool:
    return (
        job.flow == launch.flow
        and launch.job.name in (None, job.name)
        and launch.job.location in (None, job.location)
    )


def _what_it_has(flow: str, jobs: Sequence[ServedJob], answer: Any) -> str:
    """What to do, given what there is."""
    own = [job for job in jobs if job.flow == flow]
    if own:
        return f"Of this flow it has: {_listed(own)}. Choose with --name and --location."
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


def _listed(jobs: Sequence[ServedJob]) -> str:
    return ", ".join(sorted(f"{job.name} in {job.location}" for job in jobs))


def _dagster_run(answer: Any) -> DagsterRun:
    return DagsterRun(
        id=answer["runId"],
        job_name=answer["jobName"],
        status=answer["status"],
        tags={tag["key"]: tag["value"] for tag in answer["tags"]},
        run_config=answer["runConfig"] or {},
        started=answer["startTime"],
        ended=answer["endTime"],
    )


def _events(event: Any) -> Iterator[Event]:
    kind, key = event["__typename"], event.get("stepKey") or ""
    if kind in _CHANGES:
        yield StepChanged(key, _CHANGES[kind])
    elif kind == "ExecutionStepFailureEvent":
        said = (event["failureMetadata"] or {}).get("description")
        exception = (event["error"] or {}).get("message")
        yield StepChanged(key, StepChange.FAILED, said or exception or "")
    elif kind == "ExecutionStepOutputEvent":
        for entry in event["metadataEntries"]:
            if entry["label"] == FOREACH_ITEMS:
                yield ItemsFound(key, entry["intValue"])
    elif kind == "RunFailureEvent":
        yield RunFailed(event["message"])
