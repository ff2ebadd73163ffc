"""`dagster backfill`: a run for each of some partitions."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from metaflow._vendor import click
from metaflow.parameters import add_custom_parameters

from metaflow_dagster.cli.launching import (
    DEFINITIONS_FILE,
    LOCATION,
    NAME,
    URL,
    chosen_job,
    tagged,
)
from metaflow_dagster.cli.parameters import ParametersCommand
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.backfill import Backfill, BackfillState
from metaflow_dagster.operate.follow import SECONDS_BETWEEN_LOOKS, screen
from metaflow_dagster.operate.partitions import selected
from metaflow_dagster.operate.runs import Launch
from metaflow_dagster.operate.target import Target, open_target

_MOST_TOLD = 20  # partitions that have failed


class BackfillCommand(ParametersCommand):
    """A command whose runs all have a partition."""

    def has_partition(self, given: Mapping[str, Any]) -> bool:
        """Always."""
        return True


@add_custom_parameters(deploy_mode=False)
@click.command(
    cls=BackfillCommand,
    help="Start a run for each of some partitions. KEYS are partitions, such as 2026-01-31; in "
    "place of them, options choose some.",
)
@click.argument("keys", nargs=-1)
@click.option("--from", "first", default=None, help="With --to: the first of a range.")
@click.option("--to", "last", default=None, help="With --from: the last of the range.")
@click.option("--missing", is_flag=True, help="All partitions that have no run yet.")
@click.option("--failed", is_flag=True, help="All partitions whose last run has failed.")
@click.option(
    "--run-param",
    "run_params",
    multiple=True,
    help="A parameter of the flow, as PARAMETER=VALUE. Repeatable.",
)
@click.option("--tag", "tags", multiple=True, help="Tag the Metaflow runs with this. Repeatable.")
@DEFINITIONS_FILE
@NAME
@URL
@LOCATION
@click.option(
    "--wait/--no-wait",
    default=False,
    show_default=True,
    help="With --url: show the progress and wait for the end. Without, it always is so.",
)
@click.pass_context
def backfill(
    context: Any,
    keys: tuple[str, ...],
    first: str | None,
    last: str | None,
    missing: bool,
    failed: bool,
    run_params: tuple[str, ...],
    parameters: dict[str, object],
    tags: tuple[str, ...],
    wait: bool,
    **options: Any,
) -> None:
    _check(keys, first, last, missing or failed)
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    launch = Launch(session.state.flow.name, chosen_job(session, **options), parameters)
    with open_target(options["url"]) as target:
        chosen = _chosen(target, launch, keys, (first, last), missing, failed)
        if not chosen:
            click.echo("There is no such partition: there is nothing to do.")
            return
        started = target.backfill(tagged(launch, tags), chosen)
        click.echo(f"A backfill of {_number_of(chosen)} is started on Dagster.")
        for line in started.where:
            click.echo(line)
        if wait or started.needs_waiting:
            _report(_end_of(started))


def _check(keys: Sequence[str], first: str | None, last: str | None, by_state: bool) -> None:
    if (first is None) != (last is None):
        raise click.UsageError("A range takes both --from and --to.")
    ways = [bool(keys), first is not None, by_state]
    if sum(ways) != 1:
        raise click.UsageError(
            "Choose partitions in one way: name them, or give --from and --to, or --missing, "
            "--failed or both."
        )


def _chosen(
    target: Target,
    launch: Launch,
    keys: Sequence[str],
    ends: tuple[str | None, str | None],
    missing: bool,
    failed: bool,
) -> list[str]:
    partitions = target.partitions(launch)
    match ends:
        case (str(first), str(last)):
            return partitions.between(first, last)
        case _ if missing or failed:
            partitions.check_some()
            return selected(partitions, target.runs_of(partitions.job), missing, failed)
        case _:
            for key in keys:
                _ = [*partitions.new_keys(key)]  # refuses what cannot be one
            return [*dict.fromkeys(keys)]


def _number_of(keys: Sequence[str]) -> str:
    return "1 partition" if len(keys) == 1 else f"{len(keys)} partitions"


def _end_of(backfill: Backfill) -> BackfillState:
    with screen() as show:
        try:
            while True:
                state = backfill.look()
                show([state.line()])
                if state.is_finished:
                    return state
                time.sleep(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            click.echo("Runs that have started go on; no more are started from here.")
            sys.exit(130)


def _report(state: BackfillState) -> None:
    """Say which partitions have failed, and exit with 1 if some have."""
    failed = [*state.failed()]
    if state.trouble:
        click.echo(f"The backfill ended early: {state.trouble}", err=True)
    for key, run in failed[:_MOST_TOLD]:
        click.echo(f"Partition {key} has failed: run {run.metaflow_run_id}.", err=True)
    if len(failed) > _MOST_TOLD:
        click.echo(f"{len(failed) - _MOST_TOLD} more have failed.", err=True)
    if failed:
        click.echo("To run those again: `dagster backfill --failed`.", err=True)
    if failed or state.trouble:
        sys.exit(1)
