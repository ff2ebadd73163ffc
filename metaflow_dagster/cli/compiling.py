"""What the commands that compile flows have in common: the options of a compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.executors import NAMED
from metaflow_dagster.options import RUNTIMES

_OPTIONS = (
    click.option("--tag", "tags", multiple=True, help="Tag every run with this. Repeatable."),
    click.option(
        "--with",
        "decospecs",
        multiple=True,
        help="Add a decorator to every step, such as retry:times=3. Repeatable.",
    ),
    click.option("--namespace", default=None, help="Metaflow namespace of the steps."),
    click.option(
        "--workflow-timeout", default=None, type=int, help="Seconds after which a run is stopped."
    ),
    click.option(
        "--max-workers", default=None, type=int, help="Most steps of a run that run at once."
    ),
    click.option(
        "--executor",
        default=None,
        metavar="NAME",
        help="What runs the ops: threads of the run's process, other processes (multiprocess), the "
        "run's process itself, one op after the other (in_process), or workers elsewhere; one of "
        f"{', '.join(NAMED)}, or module:attribute. [default: threads]",
    ),
    click.option(
        "--pool",
        "pools",
        multiple=True,
        metavar="[STEP=]NAME",
        help="Let the ops of all steps, or of one, take a slot of a pool of Dagster's. Repeatable.",
    ),
    click.option(
        "--workflow-priority",
        default=None,
        type=int,
        help="Which of the runs in Dagster's queue start first: those of the highest number. "
        "[default: 0]",
    ),
    click.option(
        "--package",
        is_flag=True,
        default=False,
        help="Store the flow's code in the datastore, for machines that have no copy of it.",
    ),
    click.option(
        "--warm-steps",
        is_flag=True,
        default=False,
        help="Fork the processes of steps from one that has imported Metaflow, instead of "
        "starting a Python for each.",
    ),
    click.option(
        "--notify-on-error",
        is_flag=True,
        default=False,
        help="Tell a webhook when a run has failed: METAFLOW_DAGSTER_WEBHOOK_URL, in the "
        "environment where Dagster loads the definitions.",
    ),
    click.option(
        "--notify-on-success",
        is_flag=True,
        default=False,
        help="Tell the same webhook when a run has succeeded.",
    ),
    click.option(
        "--runtime",
        default=None,
        type=click.Choice(RUNTIMES),
        help="How the runtime gets to the generated file: it holds what it uses (inline), imports "
        "_metaflow_runtime.py beside it (shared), or this package (installed). [default: inline; "
        "for several flows shared]",
    ),
)

REPLACING = click.option(
    "--force",
    is_flag=True,
    default=False,
    help="Replace files of the names that are to be written, even if this command has not written "
    "them.",
)


def compile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `Options` takes by the same names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
