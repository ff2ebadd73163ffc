"""A small web server on a free port of this machine, for the stand-ins that speak JSON."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What was asked for: `names` are the parts of the path that its route leaves open."""

    names: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered, as JSON; with status 204, nothing but that."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that end before they have their answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


Handler = Callable[[Any, Request], Reply]


def route(method: str, *templates: str) -> Callable[[Handler], Handler]:
    """Let a method of a server answer requests for paths such as `/flows/{flow}/runs`."""
    patterns = [re.compile(re.sub(r"{\w+}", "([^/]+)", template)) for template in templates]

    def marked(handler: Handler) -> Handler:
        handler.routes = [(method, pattern) for pattern in patterns]  # type: ignore[attr-defined]
        return handler

    return marked


class WebServer:
    """Answers one request at a time by the methods that have a route."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be there, at `url`, for a while."""
        server = _Server(("127.0.0.1", 0), self._request_handler())
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def refusal(self, request: Request) -> Reply | None:
        """What is answered to those who may not ask."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply of the first route that fits."""
        address = urlsplit(target)
        for handler, names in self._fitting(method, address.path):
            query = dict(parse_qsl(address.query))
            request = Request(names, query, headers, json.loads(body) if body else None)
            with self._lock:
                return self.refusal(request) or handler(self, request)
        return Reply({"message": f"{method} {address.path} is not known here"}, 404)

    def _fitting(self, method: str, path: str) -> Iterator[tuple[Handler, tuple[str, ...]]]:
        for handler in vars(type(self)).values():
            for known_method, pattern in getattr(handler, "routes", ()):
                match = pattern.fullmatch(path) if known_method == method else None
                if match:
                    yield handler, tuple(map(unquote, match.groups()))

    def _request_handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class RequestHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each request would wait for an acknowledgement

            def _reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = answer(self.command, self.path, headers, body)
                content = b"" if reply.status == 204 else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _reply

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        return RequestHandler
