"""`dagster status`: where a run is."""

from __future__ import annotations

import sys
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.cli.launching import URL
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.find import known_run
from metaflow_dagster.operate.follow import why_failed
from metaflow_dagster.operate.runs import Phase
from metaflow_dagster.operate.target import open_target


@click.command(
    help="Print where a run is: Pending, Running, Succeeded or Failed; to stderr why it has failed."
)
@click.argument("run-id")
@URL
@click.pass_context
def status(context: Any, run_id: str, url: str | None) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    with open_target(url) as target:
        run = known_run(target, session.state.flow.name, run_id)
        click.echo(run.phase.value)
        if run.phase is Phase.FAILED and (reason := why_failed(target, run.id)):
            click.echo(reason, err=True)
