"""The command `metaflow-dagster`, for what concerns no single flow."""

from __future__ import annotations

from metaflow._vendor import click

from metaflow_dagster.cli.location import create
from metaflow_dagster.cli.publish import publish
from metaflow_dagster.cli.runtime import runtime
from metaflow_dagster.cli.streams import show_everything


@click.group(help="Compile Metaflow flows into Dagster definitions, and publish events.")
def main() -> None:
    show_everything()


for command in (create, publish, runtime):
    main.add_command(command)
