"""`dagster resume`: continue a run that has failed, without running again what has succeeded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.cli.launching import Launching, launch_run, launching_options
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.resume import find_origin, resuming_launch
from metaflow_dagster.operate.target import open_target


@click.command(
    help="Start a run that continues another: what has succeeded there is not run again."
)
@click.argument("step-to-rerun", required=False)
@click.option(
    "--run-id",
    "--origin-run-id",
    "origin",
    required=True,
    help="Metaflow id of the run to continue, such as dagster-1a2b3c4d5e6f.",
)
@click.option(
    "--step",
    default=None,
    help="Run this step and all after it again. [default: the tasks that have not succeeded]",
)
@launching_options
@click.pass_context
def resume(
    context: Any, origin: str, step_to_rerun: str | None, step: str | None, **options: Any
) -> None:
    if step and step_to_rerun and step != step_to_rerun:
        raise click.UsageError(f"Name one step to run again: {step_to_rerun} or {step}.")
    step = step or step_to_rerun
    launching = Launching(**options)
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    state = session.state
    with open_target(launching.url) as target:
        resumed = find_origin(target, state, origin, step, Path(session.flow_file))
        job = launching.job(session, usual=resumed.job_name)
        launch_run(session, target, resuming_launch(state, resumed, step, job), launching)
