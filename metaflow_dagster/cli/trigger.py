"""`dagster trigger`: start a run of the compiled flow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from metaflow._vendor import click
from metaflow.parameters import add_custom_parameters

from metaflow_dagster.cli.launching import Launching, launch_run, launching_options
from metaflow_dagster.cli.parameters import ParametersCommand, PartitionedCommand
from metaflow_dagster.frontend import Session
from metaflow_dagster.operate.runs import Launch
from metaflow_dagster.operate.target import open_target

Command = TypeVar("Command", bound=Callable[..., Any])

_RUN_PARAMS = click.option(
    "--run-param",
    "run_params",
    multiple=True,
    help="A parameter of the flow, as PARAMETER=VALUE. Repeatable.",
)
_PARTITION = click.option(
    "--partition",
    default=None,
    help="The partition that the run is of, where runs have some, such as 2026-01-31.",
)


def _options(command: Command) -> Command:
    """What both commands take besides the flow's parameters."""
    command = launching_options(click.pass_context(command))
    for option in (_PARTITION, _RUN_PARAMS):
        command = option(command)
    return command


@add_custom_parameters(deploy_mode=False)
@click.command(cls=ParametersCommand, help="Start a run of the compiled flow on Dagster.")
@_options
def trigger(context: Any, **options: Any) -> None:
    _launch(context, **options)


@click.command(
    "trigger_partition",
    cls=PartitionedCommand,
    hidden=True,
    help="Start a run of a partition, for Metaflow's Deployer.",
)
@_options
def trigger_partition(context: Any, **options: Any) -> None:
    _launch(context, **options)


def _launch(
    context: Any,
    run_params: tuple[str, ...],
    partition: str | None,
    parameters: dict[str, object],
    **options: Any,
) -> None:
    launching = Launching(**options)
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    flow, job = session.state.flow.name, launching.job(session)
    launch = Launch(flow, job, parameters, partition=partition)
    with open_target(launching.url) as target:
        launch_run(session, target, launch, launching)
