"""`metaflow-dagster publish`: publish an event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from metaflow._vendor import click
from metaflow.exception import MetaflowException

from metaflow_dagster.cli.launching import URL
from metaflow_dagster.operate.errors import EventNotPublished
from metaflow_dagster.operate.payload import Json
from metaflow_dagster.operate.publish import publish_event


@click.command(help="Publish an event, which starts runs of flows with a @trigger for it.")
@click.argument("event")
@click.option(
    "--payload",
    "entries",
    metavar="KEY=VALUE",
    multiple=True,
    help="What the event carries; the value is text. Repeatable.",
)
@click.option(
    "--payload-json",
    "text",
    metavar="JSON",
    default="{}",
    help="What the event carries as a JSON object, where values are to be more than text; "
    "--payload comes before it.",
)
@URL
def publish(event: str, entries: tuple[str, ...], text: str, url: str | None) -> None:
    with _refusals_shown():
        payload = {**_read(text), **dict(map(_entry, entries))}
        published = publish_event(event, payload, url)
    click.echo(f"{published.event} is published as {_printable(published.id)} {published.where}.")


@contextmanager
def _refusals_shown() -> Iterator[None]:
    try:
        yield
    except MetaflowException as error:
        raise click.ClickException(str(error)) from error


def _read(text: str) -> dict[str, Json]:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventNotPublished(f"--payload-json is not JSON: {error}.") from error
    if not isinstance(payload, dict):
        raise EventNotPublished(
            "--payload-json is not a JSON object. Give one such as '{\"size\": 3}'."
        )
    return payload


def _entry(entry: str) -> tuple[str, str]:
    key, separator, value = entry.partition("=")
    if not separator:
        raise EventNotPublished(f"--payload {entry!r} is not KEY=VALUE, such as size=3.")
    return key, value


def _printable(id: str) -> str:
    """An id on one line; the payload may have brought any text."""
    return id if id.isprintable() else ascii(id)
