"""Events that are published to a Dagster behind a webserver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from metaflow_dagster import publish
from metaflow_dagster.operate.errors import DagsterUnavailable, EventNotPublished
from metaflow_dagster.operate.payload import checked_payload
from metaflow_dagster.operate.server import ServerTarget
from tests.flowgen import examples
from tests.operated import Place, Server, answers, free_port, new_place, running, until
from tests.unit.operate.events import PAYLOAD, exactly, payloads, recorded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return new_place(tmp_path_factory.mktemp("publish"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    with webserver(place, "--path-prefix /dagster", "/dagster") as found:
        yield found


@contextmanager
def webserver(place: Place, options: str, prefix: str = "") -> Iterator[Server]:
    """A webserver without any definitions, which events do not need."""
    port = free_port()
    command = f"dagster-webserver --empty-workspace --host 127.0.0.1 --port {port} {options}"
    with running(place, command):
        found = Server(f"http://127.0.0.1:{port}{prefix}")
        until(lambda: answers(found))
        yield found


def test_odd_payload(place: Place, server: Server) -> None:
    id = publish("orders", PAYLOAD, url=server.url)
    assert exactly(recorded(place.home, "orders")) == exactly({"id": id, **PAYLOAD})


@examples(15)
@given(payloads())
def test_what_is_taken_is_read_again(place: Place, server: Server, payload: dict[str, Any]) -> None:
    try:
        checked = checked_payload(payload)
    except EventNotPublished:
        return
    ServerTarget(server.url).publish("events/some", checked)
    assert exactly(recorded(place.home, "events/some")) == exactly(payload)


@pytest.mark.parametrize(
    "event", ["orders", "sales/orders", "metaflow.UpFlow.end", "../orders", "a/./b", "-/_"]
)
def test_names(place: Place, server: Server, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_DAGSTER_URL", f"{server.url}/")
    assert publish(event, {"id": event}) == event
    assert recorded(place.home, event) == {"id": event}


def test_command_without_the_graphql_package(place: Place, server: Server) -> None:
    code = (
        "import sys; sys.modules['dagster_graphql'] = None\n"
        "from metaflow_dagster.cli.console import main; main()"
    )
    url = server.url.replace("//", "//ann:secret@")
    result = subprocess.run(
        [sys.executable, "-c", code, "publish", "named", "--payload=id=x y", f"--url={url}"],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"named is published as x y at {server.url}.\n"
    assert recorded(place.home, "named") == {"id": "x y"}


def test_runs_need_the_graphql_package(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['dagster_graphql'] = None\n"
        "from metaflow_dagster.operate.server import ServerTarget\n"
        "ServerTarget('http://127.0.0.1:9').jobs()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DagsterUnavailable" in result.stderr.splitlines()[-1]
    assert "pip install dagster-graphql" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_wrong_path(server: Server, path: str) -> None:
    url = server.url.removesuffix("/dagster") + path
    with pytest.raises(DagsterUnavailable, match="is not a Dagster webserver"):
        publish("orders", url=url)


def test_read_only_webserver(place: Place) -> None:
    with (
        webserver(place, "--read-only") as server,
        pytest.raises(EventNotPublished, match=r"does not let you publish events \(HTTP 401\)"),
    ):
        publish("orders", url=server.url)
