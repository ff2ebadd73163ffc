"""The requests to a Dagster webserver beside GraphQL, with the standard library alone."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from email.message import Message
from http.client import HTTPException
from typing import IO, Final
from urllib.error import HTTPError, URLError

from metaflow_dagster.operate.address import Address
from metaflow_dagster.operate.errors import (
    DagsterUnavailable,
    EventNotKnown,
    EventNotPublished,
    unreachable,
)
from metaflow_dagster.operate.payload import Plain

SECONDS_TO_ANSWER: Final = 60

_MOST_BYTES: Final = 100_000  # of an answer


def report_materialization(
    address: Address,
    asset: Sequence[str],
    metadata: Mapping[str, Plain],
    seconds: float = SECONDS_TO_ANSWER,
) -> None:
    """Have a webserver record that an asset is materialized."""
    request = urllib.request.Request(
        address.of("/".join(["report_asset_materialization", *asset])),
        json.dumps({"metadata": metadata}).encode(),
        {"Content-Type": "application/json", **address.authorization},
    )
    try:
        answer = _answer(address, request, seconds)
    except _Lost as error:
        raise EventNotKnown(
            f"What answers at {address.public} has failed, broken off or not answered in time "
            f"({error}). Look for the id {metadata.get('id')!r} among the materializations of "
            f"{'/'.join(asset)} before you publish the event again."
        ) from error
    _check_recorded(address, answer)


class _Lost(Exception):
    """A request was sent and its answer is lost, for the reason that is its text."""


class _RedirectsRefused(urllib.request.HTTPRedirectHandler):
    """Followed, a redirect would turn the request into one that gets a page and records nothing."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


def _answer(address: Address, request: urllib.request.Request, seconds: float) -> bytes:
    opener = urllib.request.build_opener(_RedirectsRefused)
    try:
        with opener.open(request, timeout=seconds) as response:
            answer: bytes = response.read(_MOST_BYTES)
    except HTTPError as error:
        with error:
            if error.code >= 500 or error.code == 408:
                raise _Lost(f"HTTP {error.code}") from error
            raise _not_recorded(address, error) from error
    except (URLError, UnicodeError) as error:
        raise unreachable(address.public, error.__cause__ or error.__context__ or error) from error
    except (OSError, HTTPException) as error:
        raise _Lost(type(error).__name__) from error
    return answer


def _check_recorded(address: Address, answer: bytes) -> None:
    try:
        is_dagsters = isinstance(json.loads(answer), dict)
    except ValueError:
        is_dagsters = False
    if not is_dagsters:
        raise _something_else(address, "its answer is none of Dagster's")


def _not_recorded(address: Address, error: HTTPError) -> EventNotPublished | DagsterUnavailable:
    match error.code:
        case 401 | 403:
            return EventNotPublished(
                f"The Dagster at {address.public} does not let you publish events (HTTP "
                f"{error.code}). Give a user who may as in https://USER:PASSWORD@HOST, or a "
                "webserver that is not read-only."
            )
        case 400:
            return EventNotPublished(
                f"The Dagster at {address.public} does not take the event: {_reason(error)}"
            )
        case code if 300 <= code < 400:
            return DagsterUnavailable(
                f"{address.public} redirects (HTTP {code}), probably to a login page. "
                "Give the address of the Dagster webserver itself."
            )
        case code:
            return _something_else(address, f"HTTP {code}")


def _something_else(address: Address, why: str) -> DagsterUnavailable:
    return DagsterUnavailable(
        f"What answers at {address.public} is not a Dagster webserver ({why}). Give the address "
        "of one with --url or METAFLOW_DAGSTER_URL, with its path if it has one."
    )


def _reason(error: HTTPError) -> str:
    """The first line of the error in Dagster's JSON; the HTTP status if it is something else."""
    try:
        message = json.loads(error.read(_MOST_BYTES))["error"]
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        return f"HTTP {error.code}."
    return next(iter(str(message).strip().splitlines()), f"HTTP {error.code}.")
