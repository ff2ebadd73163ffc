"""Addresses of webservers."""

from __future__ import annotations

import base64

import pytest

from metaflow_dagster.operate.address import Address
from metaflow_dagster.operate.errors import DagsterUnavailable


@pytest.mark.parametrize(
    ("url", "public", "page"),
    [
        ("http://h", "http://h", "http://h/a/b"),
        ("https://h:1/", "https://h:1", "https://h:1/a/b"),
        ("http://h/dag ster/", "http://h/dag ster", "http://h/dag%20ster/a/b"),
        ("http://h/ü%20/x@y", "http://h/ü%20/x@y", "http://h/%C3%BC%20/x%40y/a/b"),
        ("http://ann:s%40cret@h:1/d", "http://h:1/d", "http://h:1/d/a/b"),
        ("http://[::1]:3000", "http://[::1]:3000", "http://[::1]:3000/a/b"),
    ],
)
def test_address(url: str, public: str, page: str) -> None:
    address = Address.parse(url)
    assert address.public == public
    assert address.of("a/b") == page
    assert "cret" not in repr(address)


def test_user_and_password() -> None:
    header = Address.parse("http://ann:s%40cret@h").authorization["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"ann:s@cret"
    header = Address.parse("http://token@h").authorization["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"token:"
    assert Address.parse("http://h").authorization == {}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "ann:secret@host",
        "host:3000/ann:secret@",
        "ftp://ann:secret@host",
        "http://ann:secret@",
        "http://ann:sec/ret@h:x",
        "http://ann:secret@h:99999",
        "http://ann:secret@[h",
        "http://ann:secret@a b",
        "http://ann:secret\n@\x00",
        "http://ann:secret@h/\udcff",
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(DagsterUnavailable) as caught:
        Address.parse(url)
    assert "is not the address of a Dagster webserver" in str(caught.value)
    assert "sec" not in str(caught.value)
