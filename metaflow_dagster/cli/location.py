"""`metaflow-dagster create`: compile several flows into one code location."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaflow._vendor import click
from metaflow.exception import MetaflowException

from metaflow_dagster.cli.compiling import REPLACING, compile_options
from metaflow_dagster.cli.create import keep_token, note
from metaflow_dagster.cli.report import report_automation, report_imports, report_needs
from metaflow_dagster.compilation import Compilation
from metaflow_dagster.deployment import (
    Deployment,
    Deployments,
    IncorrectProductionToken,
    TokenOptions,
    deployments,
    next_deployment,
    store_code,
)
from metaflow_dagster.diagnostics import CompileError, raise_if_any
from metaflow_dagster.files import all_replaced_at_the_end, check_replaced, difference
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
@click.option(
    "--check",
    is_flag=True,
    default=False,
    help="Write nothing; print how the files differ from what they would be, and exit 1 if any "
    "does.",
)
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
    diffs = [difference(file, text) for file, text in location.texts.items()]
    for diff in diffs:
        click.echo(diff, nl=False)
    _report_stale(location)
    if any(diffs) or location.stale:
        sys.exit(1)
    click.echo(f"{', '.join(map(str, location.texts))} are current.")


def _report_stale(location: Location) -> None:
    for file in location.stale:
        click.echo(
            f"{file} was generated from a flow that is not listed. Delete it, or add its flow."
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """A compiled job, and its deployment as it is and as it will be."""

    compilation: Compilation
    place: Deployments
    previous: Deployment | None
    deployment: Deployment

    def store(self) -> None:
        """Store the code, if it is packed, and replace the deployment, if it is another one."""
        store_code(self.compilation)
        if self.deployment != self.previous:
            self.place.store(self.deployment)

    @property
    def has_new_token(self) -> bool:
        """Whether its runs are in another namespace from now on."""
        token = self.deployment.production_token
        return self.previous is None or self.previous.production_token != token


def _deploy(location: Location) -> None:
    jobs = _jobs(location)
    _replace(location, jobs)
    click.echo(f"Compiled {len(jobs)} flows. Open them in Dagster's UI:")
    click.echo(f"    dagster dev -f {file_word(str(location.definitions))}")
    for job in jobs:
        keep_token(job.deployment, job.compilation)
        note(job.compilation)
    report_automation(job.compilation.flow for job in jobs)
    _report_namespaces([job for job in jobs if job.has_new_token])
    _report_stale(location)


def _report_namespaces(jobs: list[_Job]) -> None:
    if jobs:
        click.echo("\nThese flows have new production tokens, and their runs these namespaces:")
    for job in jobs:
        click.echo(f"    {job.compilation.flow.name}: {job.deployment.namespace}")


def _jobs(location: Location) -> list[_Job]:
    """The jobs, none of which somebody else has deployed; `_NotDeployed` names those."""
    jobs, refusals = [], []
    for compilation in location.compilations:
        try:
            jobs.append(_job(compilation))
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


def _job(compilation: Compilation) -> _Job:
    flow, name = compilation.flow, compilation.job_name
    place = deployments(flow.backend, flow.file, name)
    previous = place.load()
    deployment = next_deployment(previous, TokenOptions(), name, flow.project)
    return _Job(compilation, place, previous, deployment)


def _replace(location: Location, jobs: list[_Job]) -> None:
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
