"""A Dagster webserver that is not there."""

from __future__ import annotations

import socket

import pytest

from metaflow_dagster.operate.errors import DagsterUnavailable
from metaflow_dagster.operate.server import ServerTarget


@pytest.mark.parametrize("url", ["nonsense", "127.0.0.1:3000", "ftp://host", "http://"])
def test_address_that_is_none(url: str) -> None:
    with pytest.raises(DagsterUnavailable) as caught:
        ServerTarget(url)
    assert "is not the address of a Dagster webserver" in str(caught.value)


def test_nobody_answers() -> None:
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(DagsterUnavailable) as caught:
            # Whether the address is good may turn out when it is used first.
            ServerTarget(url).runs_tagged("a", "b", 1)
    assert f"No Dagster webserver answers at {url}" in str(caught.value)


def test_password_is_not_shown() -> None:
    with pytest.raises(DagsterUnavailable) as caught:
        ServerTarget("http://ann:secret@127.0.0.1:9/dagster").runs_tagged("a", "b", 1)
    assert "http://127.0.0.1:9/dagster" in str(caught.value)
    assert "secret" not in str(caught.value)
