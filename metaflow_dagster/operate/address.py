"""The address of a Dagster webserver, and what of it may be shown."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from metaflow_dagster.operate.errors import DagsterUnavailable


@dataclass(frozen=True, slots=True)
class Address:
    """Where a webserver is; `public` is the address without a user's name and password."""

    public: str
    _parts: SplitResult = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that a URL gives; `DagsterUnavailable` if it gives none."""
        parts = _split(url.rstrip("/"))
        if parts is None or parts.scheme not in ("http", "https") or not _is_host(parts.hostname):
            raise DagsterUnavailable(
                f"{_without_credentials(url)!r} is not the address of a Dagster webserver. Give "
                "one such as --url http://127.0.0.1:3000."
            )
        return cls(parts._replace(netloc=_host(parts)).geturl(), parts)

    @property
    def is_encrypted(self) -> bool:
        """Whether it is spoken to by HTTPS."""
        return self._parts.scheme == "https"

    @property
    def place(self) -> str:
        """User, password, host, port and path, as in the URL."""
        return self._parts.netloc + self._parts.path

    def of(self, path: str) -> str:
        """The URL of a path of the webserver, without user and password."""
        prefix = quote(self._parts.path, safe="/%")
        return f"{self._parts.scheme}://{_host(self._parts)}{prefix}/{quote(path)}"

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the user and password of the URL, if it has them."""
        if self._parts.username is None:
            return {}
        user, password = unquote(self._parts.username), unquote(self._parts.password or "")
        encoded = base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape"))
        return {"Authorization": f"Basic {encoded.decode()}"}


def _split(url: str) -> SplitResult | None:
    try:
        url.encode()  # as a request does
        parts = urlsplit(url)
        _ = parts.port  # is read here, and may be no number
    except ValueError:
        return None
    return parts


def _host(parts: SplitResult) -> str:
    """Host and port, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _is_host(text: str | None) -> bool:
    return bool(text) and str(text).isprintable() and " " not in str(text)


def _without_credentials(url: str) -> str:
    """An invalid address without what may be user and password; rather too much is left out."""
    return re.sub(r"^([a-z]+://)?.*@", r"\1", url, flags=re.DOTALL)
