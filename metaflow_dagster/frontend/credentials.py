"""Recognize values that look like a credential and must not stand in a generated file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_SURE = r"API_?KEY|(?:ACCESS|PRIVATE|AUTH)_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?"
_IN_VARIABLE = re.compile(rf"(?:^|_)(?:{_SURE}|KEY)(?:_|$)", re.IGNORECASE)
_IN_CONFIG = re.compile(rf"(?:^|_)(?:{_SURE})(?:_|$)", re.IGNORECASE)
_WORDS = re.compile(r"[.-]|(?<=[a-z0-9])(?=[A-Z])")  # `api-token`, `apiToken`
_USER_INFO = re.compile(r"://[^/\s]*@")

# Names of what follows in queries, fragments and connection strings: `?sig=…` (Azure), `X-Amz-…`,
# `;AccountKey=…`, `password=… host=…`.
_NAMED = re.compile(r"(?:^|[?&#;,\s'\"-])([\w.-]+)=[^\s&;]")
_IN_TEXT = re.compile(
    rf"(?:^|[_.-])(?:{_SURE}|SIG|SIGNATURE|PWD|KEY)$|(?:{_SURE}|SHARED_?ACCESS\w*|ACCOUNT_?KEY)$",
    re.IGNORECASE,
)


def holds_secret(text: str) -> bool:
    """Whether the text is an address, or the like, with a credential in it.

    That is a user's name or password, or what stands under the name of a credential.
    """
    if _USER_INFO.search(text):
        return True
    return any(_IN_TEXT.search(name) for name in _NAMED.findall(text))


def is_plain_setting(text: str) -> bool:
    """Whether a setting has no place for a credential at all: no user, query, or the like."""
    return not _USER_INFO.search(text) and not set("?=&") & set(text)


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable looks like a credential."""
    return _IN_VARIABLE.search(name) is not None or holds_secret(value)


def is_secret_entry(name: str, value: str) -> bool:
    """Whether an entry of a Config does; a mere `key` is not enough, which names many things."""
    return _IN_CONFIG.search(_WORDS.sub("_", name)) is not None or holds_secret(value)


def secret_entries(path: str, value: object) -> Iterator[str]:
    """The paths of texts in a value of JSON that look like credentials, by names or contents."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from secret_entries(f"{path}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from secret_entries(path, inner)
    elif isinstance(value, str) and value and is_secret_entry(path.rpartition(".")[2], value):
        yield path
