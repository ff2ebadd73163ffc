"""`dagster list`: the deployed jobs."""

from __future__ import annotations

import sys
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.cli.launching import URL
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.target import open_target


@click.command(
    name="list",
    help="List the jobs of the flow that are deployed: by `dagster create` with this Dagster home, "
    "or with --url those that the server has loaded.",
)
@click.option("--all", "every", is_flag=True, default=False, help="The jobs of all flows.")
@URL
@click.pass_context
def list_deployed(context: Any, every: bool, url: str | None) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    flow = session.state.flow.name
    with open_target(url) as target:
        jobs = [job for job in target.jobs() if every or job.flow == flow]
    for job in jobs:
        click.echo(f"{job.flow} {job.identifier}")
    if not jobs:
        whose = "any flow" if every else flow
        click.echo(f"This Dagster knows no deployed job of {whose}.", err=True)
