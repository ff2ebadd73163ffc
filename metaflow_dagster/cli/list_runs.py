"""`dagster list-runs`: the runs of the flow."""

from __future__ import annotations

import sys
from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.cli.launching import URL
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.runs import FLOW_TAG, DagsterRun, Phase
from metaflow_dagster.operate.target import open_target

MOST = 1_000_000  # runs that a database is asked for


def _within(_context: Any, _option: Any, limit: int) -> int:
    """The limit, which is no range of click's: Metaflow's Deployer API knows none."""
    if not 1 <= limit <= MOST:
        raise click.BadParameter(f"{limit} is not from 1 to {MOST}.")
    return limit


@click.command(name="list-runs", help="List the runs of the flow, the latest first.")
@click.option("--pending", is_flag=True, default=False, help="Runs that have not begun.")
@click.option("--running", is_flag=True, default=False, help="Runs that have not ended.")
@click.option("--succeeded", is_flag=True, default=False, help="Runs that have succeeded.")
@click.option("--failed", is_flag=True, default=False, help="Runs that failed or were terminated.")
@click.option("--name", default=None, help="Only runs of the Dagster job of this name.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=int,
    callback=_within,
    help="Look at this many runs.",
)
@URL
@click.pass_context
def list_runs(context: Any, name: str | None, limit: int, url: str | None, **phases: bool) -> None:
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    wanted = {phase for phase in Phase if phases[phase.name.lower()]} or set(Phase)
    flow = session.state.flow.name
    with open_target(url) as target:
        runs = [
            run
            for run in target.runs_tagged(FLOW_TAG, flow, limit)
            if run.phase in wanted and name in (None, run.job_name)
        ]
    for run in runs:
        click.echo(_line(run))
    if not runs:
        click.echo(f"This Dagster has {_no_runs(wanted)} of {flow}.", err=True)


def _line(run: DagsterRun) -> str:
    started = f"startedAt:'{_time(run.started)}'" if run.started else ""
    stopped = f"stoppedAt:'{_time(run.ended)}'" if run.ended else ""
    parts = (run.metaflow_run_id, run.job_name, started, stopped, run.phase.value)
    return " ".join(part for part in parts if part)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="seconds")


def _no_runs(chosen_phases: Collection[Phase]) -> str:
    if len(chosen_phases) == len(Phase):
        return "no runs"
    words = [phase.value.lower() for phase in Phase if phase in chosen_phases]
    return f"no {' or '.join(words)} runs"
