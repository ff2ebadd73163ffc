"""`metaflow-dagster create`: compile several flows into one code location."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metaflow._vendor import click
from metaflow.exception import MetaflowException

from metaflow_dagster.cli.compiling import CHECK, REPLACING, are_current, compile_options
from metaflow_dagster.cli.create import keep_token, note_for_list
from metaflow_dagster.cli.report import report_automation, report_imports, report_needs
from metaflow_dagster.deployment import (
    IncorrectProductionToken,
    PlannedDeployment,
    TokenOptions,
    planned_deployment,
)
from metaflow_dagster.diagnostics import CompileError, raise_if_any
from metaflow_dagster.files import all_replaced_at_the_end, check_replaced
from metaflow_dagster.location.merge import FlowsNotCompiled, Location, merged
from metaflow_dagster.options import Options, Surface
from metaflow_dagster.shell import file_word


@click.command(help="Compile flows into a directory, with a definitions.py that merges them.")
@click.argument("flow_files", metavar="FLOW.py...", nargs=-1, required=True)
@click.option(
    "--output-dir",
    required=True,
    type=click.Path(file_okay=False),
    help="Directory for the generated files.",
)
@compile_options(Surface.LOCATION)
@CHECK
@REPLACING
def create(
    flow_files: tuple[str, ...],
    output_dir: str,
    check: bool,
    force: bool,
    **chosen: Any,
) -> None:
    options = Options(**chosen)
    directory = Path(output_dir)
    with _refusals_shown():
        if check:
            _check(merged(flow_files, options, directory))
        else:
            with _new_directory(directory):
                location = merged(flow_files, options, directory)
                if not force:
                    raise_if_any(
                        diagnostic for file in location.texts for diagnostic in check_replaced(file)
                    )
                _deploy(location)
                flows = [compilation.flow for compilation in location.compilations]
                report_imports(options, flows)
                report_needs(options, flows)


class _NotDeployed(Exception):
    """Why some of the jobs cannot be deployed."""


@contextmanager
def _refusals_shown() -> Iterator[None]:
    try:
        yield
    except (CompileError, FlowsNotCompiled, _NotDeployed) as error:
        raise click.ClickException(f"{error}\nNo file was changed.") from error


@contextmanager
def _new_directory(directory: Path) -> Iterator[None]:
    """A directory that is there, and is as it was if the block fails."""
    missing = [path for path in (directory, *directory.parents) if not os.path.exists(path)]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _NotDeployed(f"{directory} cannot be created: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        for path in missing:
            path.rmdir()
        raise


def _check(location: Location) -> None:
    is_current = are_current(location.texts)
    _report_stale(location)
    if location.stale or not is_current:
        sys.exit(1)
    click.echo(f"{', '.join(map(str, location.texts))} are current.")


def _report_stale(location: Location) -> None:
    for file in location.stale:
        click.echo(
            f"{file} was generated from a flow that is not listed. Delete it, or add its flow."
        )


def _deploy(location: Location) -> None:
    jobs = _jobs(location)
    _replace(location, jobs)
    click.echo(f"Compiled {len(jobs)} flows. Open them in Dagster's UI:")
    click.echo(f"    dagster dev -f {file_word(str(location.definitions))}")
    for job in jobs:
        keep_token(job.deployment, job.compilation)
        note_for_list(job.compilation)
    report_automation(job.compilation.flow for job in jobs)
    _report_namespaces([job for job in jobs if job.has_new_token])
    _report_stale(location)


def _report_namespaces(jobs: list[PlannedDeployment]) -> None:
    if jobs:
        click.echo("\nThese flows have new production tokens, and their runs these namespaces:")
    for job in jobs:
        click.echo(f"    {job.compilation.flow.name}: {job.deployment.namespace}")


def _jobs(location: Location) -> list[PlannedDeployment]:
    """The jobs, none of which somebody else has deployed; `_NotDeployed` names those."""
    jobs, refusals = [], []
    for compilation in location.compilations:
        try:
            jobs.append(planned_deployment(compilation, TokenOptions()))
        except MetaflowException as error:
            refusals.append(_refusal(compilation.flow.file, error))
    if refusals:
        raise _NotDeployed("\n\n".join(refusals))
    return jobs


def _refusal(flow_file: str, error: MetaflowException) -> str:
    message = f"{flow_file} is not deployed:\n{error}"
    if not isinstance(error, IncorrectProductionToken):
        return message
    command = f"python {file_word(flow_file)} dagster create --authorize TOKEN"
    return f"{message}\nThe token is kept once that is done for the flow alone:\n    {command}"


def _replace(location: Location, jobs: list[PlannedDeployment]) -> None:
    """Deploy the jobs, and put every file in its place after that; the last to be replaced is the
    one that merges the others.
    """
    try:
        with all_replaced_at_the_end(location.texts):
            for job in jobs:
                job.store()
    except OSError as error:
        raise _NotDeployed(f"{error.filename} cannot be written: {error.strerror}.") from error
    except MetaflowException as error:
        raise _NotDeployed(str(error)) from error
