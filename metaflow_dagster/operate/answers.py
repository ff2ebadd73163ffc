"""How a request to a webserver ended: with an answer, without ever having left, or neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from metaflow_dagster.operate.errors import DagsterUnavailable

Found = TypeVar("Found")

# A request whose answer is lost may be on its way still.
SECONDS_TO_LOOK = 15.0
_SECONDS_BETWEEN_LOOKS = 1.0

# HTTP says of these that the server has not acted on the request; of 408 and 5xx, which gateways
# give for a server that is slow or gone, it says nothing of the kind.
_REFUSALS = range(400, 500)
_TIME_OUT = 408

# Classes of requests and urllib3, by name as neither need be installed without dagster-graphql.
_NEVER_SENT = {
    "ConnectTimeout",
    "ConnectionRefusedError",
    "InvalidJSONError",
    "InvalidURL",
    "NewConnectionError",
    "SSLError",
}


class AnswerLost(DagsterUnavailable):
    """The webserver was asked, and nothing of use came back; `reason` is in a word or two."""

    def __init__(self, url: str, reason: str) -> None:
        """Take the address in a form that may be shown."""
        super().__init__(
            f"What answers at {url} has broken off, failed or not answered in time ({reason}). "
            "Start a Dagster webserver with `dagster dev`, or give the address of one with --url "
            "or METAFLOW_DAGSTER_URL."
        )
        self.reason = reason


def lost_answer(error: Exception) -> str | None:
    """Why it is not known whether Dagster has done what an error of its client was about.

    None if it is known not to have: Dagster says so itself, or the request has not reached it.
    """
    causes = list(_causes(error))
    if not causes or any(type(cause).__name__ in _NEVER_SENT for cause in causes):
        return None
    first = causes[0]
    if type(first).__name__ == "TransportQueryError":
        return None  # GraphQL's own errors: the answer is there
    code = getattr(first, "code", None)
    if code in _REFUSALS and code != _TIME_OUT:
        return None
    return f"HTTP {code}" if code else type(causes[-1]).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The causes of an error, down to those of the libraries below."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        reason = getattr(cause.args[0], "reason", None) if cause.args else None
        cause = cause.__cause__ or cause.__context__ or _exception(reason)


def _exception(value: object) -> BaseException | None:
    return value if isinstance(value, BaseException) else None


def looked_for(look: Callable[[], Found | None]) -> Found | None:
    """The first thing that is found within `SECONDS_TO_LOOK`, None if there is none.

    Raises
    ------
    DagsterUnavailable
        If there was nothing to be seen at the last look.
    """
    deadline = time.monotonic() + SECONDS_TO_LOOK
    while True:
        is_last = time.monotonic() > deadline
        try:
            result = look()
        except DagsterUnavailable:
            if is_last:
                raise
        else:
            if result is not None or is_last:
                return result
        time.sleep(_SECONDS_BETWEEN_LOOKS)
