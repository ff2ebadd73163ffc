"""A gateway before a Dagster webserver that loses answers, as the proxies of real ones do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

# The connection breaks, a page with an error comes, it comes without the server having been asked,
# or the connection breaks and such pages come from then on.
Loss = Literal["broken", "502", "unsent", "down"]


class Gateway(ThreadingHTTPServer):
    """Passes requests on to the webserver at a URL, and loses the answers to some of them."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.wanted = b""
        self.loss: Loss = "broken"
        self.lost = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def losing(self, wanted: str, loss: Loss) -> Iterator[None]:
        """Lose the answers to what has some text in it; something has to be lost."""
        self.wanted, self.loss, self.lost = wanted.encode(), loss, 0
        yield
        assert self.lost
        self.wanted, self.lost = b"", 0


class _Passing(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        gateway = self.server
        losing = gateway.wanted and gateway.wanted in self.path.encode() + body
        down = gateway.loss == "down" and gateway.lost
        if down or (losing and gateway.loss == "unsent"):
            gateway.lost += 1
            self._reply(502, b"<html>Bad gateway</html>")
            return
        code, answer = self._answer(body)
        if not losing:
            self._reply(code, answer)
            return
        gateway.lost += 1
        if gateway.loss == "502":
            self._reply(502, b"<html>Bad gateway</html>")
        else:
            self.connection.close()

    def _answer(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.behind + self.path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _reply(self, code: int, text: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if code == 200 else "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def gateway_before(url: str) -> Iterator[Gateway]:
    """A gateway that serves while the block runs."""
    with Gateway(url) as gateway:
        thread = threading.Thread(target=gateway.serve_forever)
        thread.start()
        try:
            yield gateway
        finally:
            gateway.shutdown()
            thread.join()
