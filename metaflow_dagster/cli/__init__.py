"""The `dagster` command group that every flow has where this package is installed."""

from __future__ import annotations

from metaflow._vendor import click

from metaflow_dagster.cli.create import create
from metaflow_dagster.cli.delete import delete
from metaflow_dagster.cli.list_deployed import list_deployed
from metaflow_dagster.cli.list_runs import list_runs
from metaflow_dagster.cli.resume import resume
from metaflow_dagster.cli.status import status
from metaflow_dagster.cli.step import step
from metaflow_dagster.cli.suspend import suspend, unsuspend
from metaflow_dagster.cli.terminate import terminate
from metaflow_dagster.cli.trigger import trigger


@click.group()
def cli() -> None:
    pass


@cli.group(help="Commands related to Dagster.")
def dagster() -> None:
    pass


for command in (
    create,
    trigger,
    resume,
    status,
    terminate,
    list_runs,
    list_deployed,
    delete,
    suspend,
    unsuspend,
    step,
):
    dagster.add_command(command)
