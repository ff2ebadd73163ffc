"""`dagster delete`: undo what `dagster create` has done."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from metaflow._vendor import click
from metaflow.exception import MetaflowUnknownUser
from metaflow.util import get_username

from metaflow_dagster.cli.launching import DEFINITIONS_FILE, NAME
from metaflow_dagster.compiler import default_output
from metaflow_dagster.deployment import raise_if_refused, token_prefix
from metaflow_dagster.frontend import Session
from metaflow_dagster.frontend.decorators.project import flow_project
from metaflow_dagster.frontend.read import default_job_name
from metaflow_dagster.operate.deployed import CompiledFile, forget_deployment, read_compiled
from metaflow_dagster.operate.errors import DagsterUnavailable, NotDeleted
from metaflow_dagster.operate.home import dagster_home


@click.command(help="Delete the definitions file of this flow, and what is kept of its deployment.")
@DEFINITIONS_FILE
@NAME
@click.option(
    "--authorize",
    default=None,
    metavar="TOKEN",
    help="Delete a job that somebody else has deployed, whose production token this is.",
)
@click.pass_context
def delete(
    context: Any, definitions_file: str | None, name: str | None, authorize: str | None
) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    flow = session.state.flow
    file = Path(definitions_file or default_output(name or default_job_name(flow)))
    compiled = _to_delete(file, flow.name, name)
    if get_username() is None:
        raise MetaflowUnknownUser()
    place = compiled.deployments
    deployment = place.load()
    if deployment is not None:
        prefix = token_prefix(compiled.record.job, flow_project(flow))
        raise_if_refused(deployment, authorize, prefix, compiled.record.job, "delete it")
    _remove(compiled)
    click.echo(f"Deleted {file}. A Dagster that has loaded it has its job until it is reloaded.")
    if not place.remove() and deployment is not None:
        click.echo(f"{place} stays, as Metaflow removes nothing from there. It keeps the owner and")
        click.echo("the production token, should the job be deployed again.")


def _to_delete(file: Path, flow: str, name: str | None) -> CompiledFile:
    """The compiled file to delete; raise `NotDeleted` if it is not one of the flow's."""
    if not os.path.exists(file):  # nor for a name that is none
        raise NotDeleted(f"There is no {file}. Name the file to delete with --definitions-file.")
    compiled = read_compiled(file)
    if compiled is None or not compiled.is_generated:
        raise NotDeleted(
            f"{file} is not as `dagster create` writes files. Nothing was changed. If it is to go, "
            "remove it by hand."
        )
    if compiled.record.flow != flow:
        raise NotDeleted(
            f"{file} is of the flow {compiled.record.flow}, not of {flow}. Nothing was changed. "
            "Name the file to delete with --definitions-file."
        )
    if name not in (None, compiled.record.job):
        raise NotDeleted(
            f"{file} has the job {compiled.record.job}, not {name}. Nothing was changed."
        )
    return compiled


def _remove(compiled: CompiledFile) -> None:
    try:
        compiled.file.unlink()
    except OSError as error:
        raise NotDeleted(
            f"{compiled.file} cannot be removed: {error.strerror}. Nothing was changed."
        ) from error
    try:
        forget_deployment(dagster_home(), compiled.job)
    except (DagsterUnavailable, OSError) as error:
        # A note without a file counts for nothing.
        click.echo(f"Note that Dagster's home could not be tidied: {error}")
