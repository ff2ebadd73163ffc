"""What a webhook is told of the ends of runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from metaflow_dagster.runtime.notices import WEBHOOK_VARIABLE, NotNotified, send_notice
from tests.services.web import Reply, Request, WebServer, route

CONTENT = {"text": "Größe 5"}
NO_PAUSES = (0, 0, None)


class Webhook(WebServer):
    """A webhook that answers with these codes, the last one from then on."""

    def __init__(self, *codes: int) -> None:
        super().__init__()
        self.codes = list(codes)
        self.got: list[Any] = []

    @route("POST", "/sesame")
    def take(self, request: Request) -> Reply:
        self.got.append((request.headers["content-type"], request.body))
        return Reply({}, self.codes.pop(0) if len(self.codes) > 1 else self.codes[0])


@contextmanager
def webhook(*codes: int) -> Iterator[Webhook]:
    hook = Webhook(*codes)
    with hook.serving():
        yield hook


@pytest.mark.parametrize("codes", [(200,), (204,), (500, 200), (500, 429, 201)])
def test_notice_arrives(codes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(*codes) as hook:
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"{hook.url}/sesame")
        send_notice(CONTENT, NO_PAUSES)
    assert hook.got == [("application/json", CONTENT)] * len(codes)


def refusal(url: str | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why a notice was not sent; the URL, which is a secret, does not show in any cause."""
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    if url is not None:
        monkeypatch.setenv(WEBHOOK_VARIABLE, url)
    with pytest.raises(NotNotified) as raised:
        send_notice(CONTENT, NO_PAUSES)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert "sesame" not in str(raised.value)
    return str(raised.value)


def test_webhook_that_does_not_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(403) as hook:
        assert (
            refusal(f"{hook.url}/sesame", monkeypatch)
            == "The webhook does not take the notice: Forbidden."
        )
    assert len(hook.got) == 3
    assert "refused" in refusal(f"{hook.url}/sesame", monkeypatch)


def test_webhook_that_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hung_up_on = []

    def hang_up(server: socket.socket) -> None:
        for _ in range(3):
            connection, address = server.accept()
            connection.recv(10_000)
            connection.close()
            hung_up_on.append(address)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, args=[server], daemon=True)
        thread.start()
        said = refusal(f"http://127.0.0.1:{server.getsockname()[1]}/sesame", monkeypatch)
        thread.join(10)
    assert said.startswith("The webhook does not take the notice: ")
    assert len(hung_up_on) == 3


@pytest.mark.parametrize(
    "url", ["sesame", "http://127.0.0.1:sesame", "http://127.0.0.1/ses ame", "http://"]
)
def test_what_is_no_webhook(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "webhook" in refusal(url, monkeypatch)


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_webhook(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(url, monkeypatch) == (
        "Set METAFLOW_DAGSTER_WEBHOOK_URL where the code location of the job is loaded."
    )
