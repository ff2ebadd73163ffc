"""`dagster create`: compile the flow into a Dagster definitions file."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from metaflow._vendor import click
from metaflow.exception import MetaflowException

from metaflow_dagster.compiler import Compilation, compile_session
from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.files import difference, write_atomically
from metaflow_dagster.frontend import Session
from metaflow_dagster.options import Options


class NotCompiled(MetaflowException):
    """A compile error in the form in which Metaflow shows errors."""

    headline = "Flow not compiled to Dagster"


@click.command(help="Compile this flow into a Dagster definitions file.")
@click.argument("file", required=False, type=click.Path())
@click.option("--name", default=None, help="Name of the Dagster job. [default: the flow's name]")
@click.option("--tag", "tags", multiple=True, help="Tag every run with this. Repeatable.")
@click.option(
    "--with",
    "decospecs",
    multiple=True,
    help="Add a decorator to every step, such as retry:times=3. Repeatable.",
)
@click.option("--namespace", default=None, help="Metaflow namespace of the steps.")
@click.option(
    "--workflow-timeout",
    default=None,
    type=int,
    help="Seconds after which a run is stopped.",
)
@click.option("--max-workers", default=None, type=int, help="Most steps that run at once.")
@click.option(
    "--origin-run-id",
    default=None,
    help="Resume this run of Dagster's (dagster-…) in every run: what finished is not run again.",
)
@click.option(
    "--check",
    is_flag=True,
    default=False,
    help="Write nothing; print how FILE differs from what it would be, and exit 1 if it does.",
)
@click.option(
    "--show-plan",
    is_flag=True,
    default=False,
    help="Write nothing; print the job as it would be, one op a line.",
)
@click.pass_context
def create(
    context: Any,
    file: str | None,
    name: str | None,
    tags: tuple[str, ...],
    decospecs: tuple[str, ...],
    namespace: str | None,
    workflow_timeout: int | None,
    max_workers: int | None,
    origin_run_id: str | None,
    check: bool,
    show_plan: bool,
) -> None:
    options = Options(
        name, tags, decospecs, namespace, workflow_timeout, max_workers, origin_run_id
    )
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    try:
        compilation = compile_session(session, options, file)
    except CompileError as error:
        raise NotCompiled(str(error)) from error
    if show_plan:
        click.echo(compilation.plan, nl=False)
    elif check:
        _check(compilation)
    else:
        _write(compilation)


def _check(compilation: Compilation) -> None:
    diff = difference(compilation.output, compilation.text)
    if diff:
        click.echo(diff, nl=False)
        sys.exit(1)
    click.echo(f"{compilation.output} is current.")


def _write(compilation: Compilation) -> None:
    try:
        write_atomically(compilation.output, compilation.text)
    except OSError as error:
        raise NotCompiled(
            f"{compilation.output} cannot be written: {error.strerror}. Nothing was changed."
        ) from error
    _report(compilation)


def _report(compilation: Compilation) -> None:
    file = shlex.quote(str(compilation.output))
    click.echo(f"Compiled to {compilation.output}. Open it in Dagster's UI, or run it:")
    click.echo(f"    dagster dev -f {file}")
    click.echo(f"    dagster job execute -f {file} -j {compilation.job_name}")
