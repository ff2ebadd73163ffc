"""The errors of commands on runs and deployments, in the form in which Metaflow shows them.

Each message names what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaflow.exception import MetaflowException

from metaflow_dagster.internals.lookup import lacking_names


class DagsterUnavailable(MetaflowException):
    """There is no Dagster to talk to: no usable home, no server, or a package is missing."""

    headline = "Dagster is out of reach"


class RunNotStarted(MetaflowException):
    """Dagster was there, but the run was not started."""

    headline = "Run not started on Dagster"


class LaunchNotKnown(MetaflowException):
    """Dagster was asked for the run, its answer is lost, and it cannot be looked for."""

    headline = "Whether the run is started on Dagster is not known"


class RunNotNoted(MetaflowException):
    """The run was started, but what was to be written of it could not be."""

    headline = "Run started, but its id could not be written"


class RunNotResumed(MetaflowException):
    """The run that was named cannot be resumed."""

    headline = "Run not resumed on Dagster"


class RunNotFound(MetaflowException):
    """Dagster knows no such run of the flow."""

    headline = "Run not found on Dagster"


class DeploymentNotFound(MetaflowException):
    """No such job is deployed, as far as can be known."""

    headline = "Deployment not found on Dagster"


class NotDeleted(MetaflowException):
    """The file that was named is not one to delete."""

    headline = "Deployment not deleted"


class NotSwitched(MetaflowException):
    """Dagster does not turn a schedule or sensor off or on."""

    headline = "Schedule or sensor not changed on Dagster"


class EventNotPublished(MetaflowException):
    """An event is not one, or Dagster does not take it."""

    headline = "Event not published to Dagster"


class EventNotKnown(MetaflowException):
    """An event was sent, and the answer is lost."""

    headline = "Whether the event is published to Dagster is not known"


class RunNotTerminated(MetaflowException):
    """The run cannot be terminated, or not any more."""

    headline = "Run not terminated on Dagster"


def launch_error(shown: str) -> RunNotStarted | LaunchNotKnown:
    """The error that a command has shown, which begins with its headline."""
    kind = LaunchNotKnown if LaunchNotKnown.headline in shown else RunNotStarted
    return kind(shown)


def config_refused(reasons: Sequence[str]) -> RunNotStarted:
    """The error for parameters that the compiled job does not take."""
    return RunNotStarted(
        "Dagster does not take the parameters:\n"
        + "\n".join(f"    {reason}" for reason in reasons)
        + "\nA parameter that is the key of a partition is given by --partition alone. If the flow "
        "has changed since, compile it again with `python FLOW.py dagster create`."
    )


def unsupported_dagster(*tables: type) -> RunNotStarted | None:
    """The error for a Dagster that lacks a name of some tables; None if it has them all."""
    missing = lacking_names(*tables)
    if not missing:
        return None
    return RunNotStarted(
        f"This release of metaflow-dagster does not support the installed Dagster, which has no "
        f"{missing[0]} as it is used. Install a later metaflow-dagster, or an earlier Dagster."
    )


def run_not_kept(where: str, error: str) -> RunNotStarted:
    """The error for a run that a database refuses, such as MySQL one of more than 64 KB."""
    return RunNotStarted(
        f"The parameters and tags are more than Dagster's database can keep of a run {where} "
        f"({error}). MySQL holds 64 KB: give long texts as files, or use PostgreSQL."
    )


def unreachable(url: str, error: object) -> DagsterUnavailable:
    """The error for a webserver that does not answer; the URL has to be one that may be shown."""
    return DagsterUnavailable(
        f"No Dagster webserver answers at {url} ({type(error).__name__}). Start one with "
        "`dagster dev`, or give the address of one with --url or METAFLOW_DAGSTER_URL."
    )
