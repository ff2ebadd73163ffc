"""`dagster terminate`: end a run."""

from __future__ import annotations

import sys
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.cli.launching import URL
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.find import known_run
from metaflow_dagster.operate.target import open_target
from metaflow_dagster.operate.terminate import terminate_run


@click.command(help="End a run, with all its processes.")
@click.argument("run-id")
@URL
@click.pass_context
def terminate(context: Any, run_id: str, url: str | None) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    with open_target(url) as target:
        run = known_run(target, session.state.flow.name, run_id)
        ended = terminate_run(target, run)
    if ended:
        click.echo(f"{run.metaflow_run_id} is terminated.")
    else:
        click.echo(f"{run.metaflow_run_id} is being terminated; `dagster status` says when it is.")
