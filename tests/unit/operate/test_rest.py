"""What is said of a webserver that does not record an event, or is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from metaflow.exception import MetaflowException

from metaflow_dagster.operate.address import Address
from metaflow_dagster.operate.errors import DagsterUnavailable, EventNotKnown, EventNotPublished
from metaflow_dagster.operate.rest import report_materialization


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address, with a password, of what gives an answer to one request and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer, args=(server, answer))
        thread.start()
        yield f"http://ann:secret@127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def _answer(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as request:
        lines = iter(request.readline, b"\r\n")
        headers = dict(line.split(b": ") for line in lines if b": " in line)
        request.read(int(headers[b"Content-Length"]))
        connection.sendall(answer)


def response(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (response("200 OK", "<html>"), DagsterUnavailable, "is not a Dagster webserver"),
        (response("200 OK", "[]"), DagsterUnavailable, "is not a Dagster webserver"),
        (response("404 Not Found"), DagsterUnavailable, "(HTTP 404)"),
        (response("405 Not Allowed"), DagsterUnavailable, "is not a Dagster webserver"),
        (response("302 Found", "", "Location: /"), DagsterUnavailable, "redirects"),
        (response("308 Moved", "", "Location: /"), DagsterUnavailable, "redirects"),
        (response("401 Unauthorized"), EventNotPublished, "does not let you publish"),
        (response("403 Forbidden", "{}"), EventNotPublished, "(HTTP 403)"),
        (response("400 Bad", '{"error": "no\\nmore"}'), EventNotPublished, "the event: no"),
        (response("400 Bad", "<html>"), EventNotPublished, "the event: HTTP 400."),
        (response("400 Bad", '{"error": ""}'), EventNotPublished, "the event: HTTP 400."),
        (response("503 Busy"), EventNotKnown, "not answered in time (HTTP 503). Look for the id"),
        (b"", EventNotKnown, "Look for the id 'n7' among the materializations of a/b"),
        (b"SSH-2.0-OpenSSH\r\n", EventNotKnown, "(BadStatusLine)"),
        (response("200 OK", "{")[:-1], DagsterUnavailable, "is none of Dagster's"),
    ],
)
def test_answer(answer: bytes, error: type[MetaflowException], message: str) -> None:
    with answering(answer) as url, pytest.raises(error) as caught:
        report_materialization(Address.parse(url), ["a", "b"], {"id": "n7"})
    assert message in str(caught.value)
    assert "http://127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address.parse(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EventNotKnown, match="not answered in time"):
            report_materialization(address, ["a"], {}, seconds=0.2)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "a..b", "name.invalid"])
def test_nobody_there(host: str) -> None:
    with pytest.raises(DagsterUnavailable, match=f"No Dagster webserver answers at http://{host}"):
        report_materialization(Address.parse(f"http://ann:secret@{host}"), ["a"], {})
