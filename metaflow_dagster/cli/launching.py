"""The common parts of the commands that launch a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from metaflow._vendor import click

from metaflow_dagster.compiler import default_output
from metaflow_dagster.frontend import Session
from metaflow_dagster.frontend.protocols import Node
from metaflow_dagster.frontend.read import default_job_name
from metaflow_dagster.operate.errors import RunNotNoted, RunNotStarted
from metaflow_dagster.operate.follow import follow, screen
from metaflow_dagster.operate.progress import Progress
from metaflow_dagster.operate.runs import LAUNCH_TAGS_TAG, JobChoice, Launch, Launched, Phase
from metaflow_dagster.operate.target import Target
from metaflow_dagster.option_checks import check_options
from metaflow_dagster.options import Options, run_tags

Command = TypeVar("Command", bound=Callable[..., Any])

URL = click.option(
    "--url",
    default=None,
    envvar="METAFLOW_DAGSTER_URL",
    help="A running Dagster webserver, such as http://127.0.0.1:3000. [default: "
    "METAFLOW_DAGSTER_URL, else a Dagster on this machine, with its history in DAGSTER_HOME]",
)
NAME = click.option(
    "--name", default=None, help="Name of the Dagster job. [default: as for `dagster create`]"
)
DEFINITIONS_FILE = click.option(
    "--definitions-file",
    default=None,
    type=click.Path(),
    help="The file that `dagster create` has written. [default: where it writes by default]",
)
LOCATION = click.option(
    "--location",
    default=None,
    help="With --url: the code location of the job, if several have one of that name.",
)
_LAUNCHING = (
    click.option(
        "--tag", "tags", multiple=True, help="Tag the Metaflow run with this, too. Repeatable."
    ),
    DEFINITIONS_FILE,
    NAME,
    URL,
    LOCATION,
    click.option(
        "--wait/--no-wait",
        default=False,
        show_default=True,
        help="Show the progress of the run and wait for its end.",
    ),
    click.option(
        "--run-id-file",
        default=None,
        type=click.Path(),
        help="Write the Metaflow id of the run to this file as soon as it is started.",
    ),
    click.option(
        "--deployer-attribute-file",
        default=None,
        type=click.Path(),
        hidden=True,
        help="Write what Metaflow's Deployer API needs to this file.",
    ),
)


@dataclass(frozen=True, slots=True)
class Launching:
    """Where a run is launched, and what is done after that."""

    definitions_file: str | None
    name: str | None
    url: str | None
    location: str | None
    tags: tuple[str, ...]
    wait: bool
    run_id_file: str | None
    deployer_attribute_file: str | None

    def job(self, session: Session, usual: str | None = None) -> JobChoice:
        """The job to launch; `usual` is its name if the user has not said anything.

        Of a file that the user has named, it is whichever job it has.
        """
        return chosen_job(session, self.definitions_file, self.name, self.url, self.location, usual)


def chosen_job(
    session: Session,
    definitions_file: str | None,
    name: str | None,
    url: str | None,
    location: str | None,
    usual: str | None = None,
) -> JobChoice:
    """The job that these options mean; see `Launching.job`."""
    usual = usual or default_job_name(session.state.flow)
    named_file = definitions_file is not None and url is None
    file = Path(definitions_file or default_output(name or usual))
    return JobChoice(name if named_file else name or usual, file, location)


def launching_options(command: Command) -> Command:
    """Add the options that `Launching` holds."""
    for option in reversed(_LAUNCHING):
        command = option(command)
    return command


def tagged(launch: Launch, tags: Sequence[str]) -> Launch:
    """The launch with Metaflow tags of its own, which Dagster has as those of the job."""
    options = Options(tags=tuple(tags))
    faults = [*check_options(options)]
    if faults:
        raise RunNotStarted("\n".join(map(str, faults)))
    given = {LAUNCH_TAGS_TAG: json.dumps(list(tags))} if tags else {}
    return replace(launch, tags={**run_tags(options), **launch.tags, **given})


def launch_run(session: Session, target: Target, launch: Launch, launching: Launching) -> None:
    """Launch a run, say so, and wait for its end if that is wanted; exits 1 if it then failed."""
    launched = target.launch(tagged(launch, launching.tags))
    _write_files(session, launched, launching)
    click.echo(
        f"{launched.job_name} is started on Dagster: Metaflow run {launched.metaflow_run_id}, "
        f"Dagster run {launched.dagster_run_id}."
    )
    for line in launched.where:
        click.echo(line)
    if launching.wait:
        _wait(session, target, launched)


def _write_files(session: Session, launched: Launched, launching: Launching) -> None:
    run_id = launched.metaflow_run_id
    attributes = {
        "name": launched.job_name,
        "metadata": session.state.metadata.metadata_str(),
        "pathspec": f"{session.state.flow.name}/{run_id}",
        "dagster_run_id": launched.dagster_run_id,
        "dagster_url": launched.url,
    }
    for file, text in (
        (launching.run_id_file, run_id),
        (launching.deployer_attribute_file, json.dumps(attributes)),
    ):
        if file:
            _write(Path(file), text, run_id)


def _write(file: Path, text: str, run_id: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunNotNoted(
            f"{file} cannot be written: {error.strerror}. The run is {run_id}; "
            f"`dagster terminate {run_id}` ends it."
        ) from error


def _wait(session: Session, target: Target, launched: Launched) -> None:
    progress = Progress(_foreaches(session))
    try:
        with screen() as show:
            run = follow(target, launched.dagster_run_id, progress, show)
    except KeyboardInterrupt:
        click.echo(f"The run goes on; `dagster terminate {launched.metaflow_run_id}` ends it.")
        sys.exit(130)
    if run.phase is Phase.SUCCEEDED:
        click.echo(f"{run.metaflow_run_id} has succeeded.")
        return
    click.echo(progress.failure(), err=True)
    ending = "was terminated" if run.status == "CANCELED" else "has failed"
    click.echo(f"{run.metaflow_run_id} {ending}.", err=True)
    command = f"dagster resume --run-id {run.metaflow_run_id}"
    click.echo(f"To resume it, skipping the steps that succeeded: `{command}`.", err=True)
    sys.exit(1)


def _foreaches(session: Session) -> dict[str, str]:
    """The innermost foreach around each step that is in one."""
    graph = session.state.graph
    around = {
        node.name: [split for split in _splits(node) if _is_foreach(graph[split])] for node in graph
    }
    return {step: foreaches[-1] for step, foreaches in around.items() if foreaches}


def _splits(node: Node) -> list[str]:
    """The splits that a step is in; a join is not in the one that it ends."""
    return node.split_parents[:-1] if node.type == "join" else node.split_parents


def _is_foreach(node: Node) -> bool:
    return node.type == "foreach" and not node.parallel_foreach
