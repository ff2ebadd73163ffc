"""`dagster suspend` and `dagster unsuspend`: turn the schedules and sensors of a job off and on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from metaflow._vendor import click

from metaflow_dagster.cli.launching import DEFINITIONS_FILE, LOCATION, NAME, URL, chosen_job
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.automations import Change
from metaflow_dagster.operate.runs import Launch
from metaflow_dagster.operate.target import open_target

Command = TypeVar("Command", bound=Callable[..., Any])


def _options(command: Command) -> Command:
    for option in (LOCATION, URL, NAME, DEFINITIONS_FILE):
        command = option(command)
    return command


@click.command(help="Turn the schedules and sensors of the job off.")
@_options
@click.pass_context
def suspend(context: Any, **options: str | None) -> None:
    _switch(context, Change.SUSPEND, "suspended", **options)


@click.command(help="Turn the schedules and sensors of the job on.")
@_options
@click.pass_context
def unsuspend(context: Any, **options: str | None) -> None:
    _switch(context, Change.UNSUSPEND, "unsuspended", **options)


def _switch(context: Any, change: Change, done: str, **options: str | None) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    job = chosen_job(session, **options)
    launch = Launch(session.state.flow.name, job, {})
    with open_target(options["url"]) as target:
        changed = target.switch(launch, change)
    for automation in changed:
        click.echo(f"The {automation} is {done}.")
    if not changed:
        click.echo("The job has no schedules or sensors: there is nothing to do.")
    elif options["url"] is None and change is Change.UNSUSPEND:
        click.echo("They launch runs while `dagster dev` is up with this Dagster home.")
