"""Publishing events, which start runs of the flows that have a `@trigger` for them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metaflow_dagster.events import check_event_name
from metaflow_dagster.operate.errors import EventNotPublished
from metaflow_dagster.operate.payload import Json, Plain, checked_payload
from metaflow_dagster.operate.target import open_target


@dataclass(frozen=True, slots=True)
class Published:
    """An event that has been published, and where."""

    event: str
    id: str
    where: str


def publish(
    event: str | Callable[[], str],
    payload: Mapping[str, Json] | None = None,
    *,
    url: str | None = None,
) -> str:
    """
    Publish an event to Dagster, where it starts a run of each flow with a `@trigger` for it.

    It returns as soon as the event is recorded, as a materialization of the asset that is called
    as the event; the payload is its metadata. Sensors of the flows find it there.

    Parameters
    ----------
    event : str or Callable[[], str]
        Name of the event, such as `orders` or `sales/orders`: letters, digits, `_`, `.` and `-`,
        and slashes between them. A callable without arguments gives the name, such as Metaflow's
        `namespaced_event_name("orders")`.
    payload : Mapping[str, Json], optional, default None
        What the event carries: None, bool, int, float (not NaN or infinite) and str, and lists
        and dicts of these. Whoever reads the event gets the same values.
    url : str, optional, default None
        A running Dagster webserver, such as http://127.0.0.1:3000. If it is not specified,
        METAFLOW_DAGSTER_URL, and without that a Dagster on this machine, with its history in
        DAGSTER_HOME, or ~/.metaflow-dagster without that.

    Returns
    -------
    str
        The id of the event, which is `id` in its payload: a new one if the payload has none, and
        the text of one that is not a str.

    Raises
    ------
    MetaflowException
        If the event is not published; the message says why, and what to do.
    """
    return publish_event(event, payload or {}, url or os.environ.get("METAFLOW_DAGSTER_URL")).id


def publish_event(
    event: str | Callable[[], str], payload: Mapping[str, Json], url: str | None
) -> Published:
    """Publish to the Dagster at a URL, or without one to that on this machine."""
    name = _name(event)
    carried = checked_payload({"id": str(uuid.uuid4()), **payload})
    with open_target(url or None) as target:
        where = target.publish(name, carried)
    return Published(name, _text(carried["id"]), where)


def _name(event: str | Callable[[], str]) -> str:
    name = event() if callable(event) else event
    try:
        check_event_name(name)
    except ValueError as error:
        raise EventNotPublished(str(error)) from error
    return name


def _text(value: Plain) -> str:
    return value if isinstance(value, str) else json.dumps(value)
