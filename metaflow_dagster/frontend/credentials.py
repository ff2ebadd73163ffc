"""What looks like a credential, and so must not stand in a generated file."""

from __future__ import annotations

import re

_SURE = r"API_?KEY|(?:ACCESS|PRIVATE|AUTH)_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?"
_IN_VARIABLE = re.compile(rf"(?:^|_)(?:{_SURE}|KEY)(?:_|$)", re.IGNORECASE)
_IN_CONFIG = re.compile(rf"(?:^|_)(?:{_SURE})(?:_|$)", re.IGNORECASE)
_USER_INFO = re.compile(r"://[^/\s]*@")


def is_secret_address(text: str) -> bool:
    """Whether the text is an address with a user's name or password in it."""
    return _USER_INFO.search(text) is not None


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable looks like a credential."""
    return _IN_VARIABLE.search(name) is not None or is_secret_address(value)


def is_secret_entry(name: str, value: str) -> bool:
    """Whether an entry of a Config does; a mere `key` is not enough, which names many things."""
    return _IN_CONFIG.search(name) is not None or is_secret_address(value)
