"""The part of Docker's API that Dagster's executor uses; containers are processes of this machine.

What it answers follows https://docs.docker.com/reference/api/engine, as far as the client reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.containers import Container
from tests.services.web import Reply, Request, WebServer, route

ONE = "/v{version}/containers/{name}"
NOTHING = Reply(None, 204)


@dataclass
class Created:
    """A container that was created, and perhaps started."""

    id: str
    name: str
    body: dict[str, Any]
    container: Container | None = None

    @property
    def description(self) -> dict[str, Any]:
        """What `docker inspect` shows, as far as it is of interest."""
        code = self.container and self.container.exit_code
        status = "created" if self.container is None else "running" if code is None else "exited"
        state = {"Status": status, "ExitCode": code or 0}
        config = {"Image": self.body["Image"], "Labels": {}}
        return {"Id": self.id, "Name": f"/{self.name}", "State": state, "Config": config}


class DockerApi(WebServer):
    """A daemon that has no images at first, and pulls any.

    `image` is the directory with the files of all images.
    """

    def __init__(self, directory: Path, image: Path) -> None:
        super().__init__()
        self.created: list[Created] = []
        self.pulled: list[str] = []
        self._directory = directory
        self._image = image
        self._numbers = itertools.count(1)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be there, at `url`, for a while; whatever still runs is ended with it."""
        with super().serving():
            try:
                yield
            finally:
                for each in self.created:
                    if each.container is not None:
                        each.container.stop()

    @property
    def access(self) -> Mapping[str, str]:
        """What lets clients find the daemon."""
        return {"DOCKER_HOST": self.url.replace("http://", "tcp://")}

    @route("GET", "/version", "/v{version}/version")
    def version(self, request: Request) -> Reply:
        return Reply({"ApiVersion": "1.43", "Version": "24.0.0"})

    @route("POST", "/v{version}/images/create")
    def pull(self, request: Request) -> Reply:
        self.pulled.append(f"{request.query['fromImage']}:{request.query['tag']}")
        return Reply({"status": "Downloaded"})

    @route("GET", "/v{version}/images/{registry}/{name}/json")
    def image(self, request: Request) -> Reply:
        return Reply({"Id": "/".join(request.names[1:])})

    @route("POST", "/v{version}/containers/create")
    def create(self, request: Request) -> Reply:
        if request.body["Image"] not in self.pulled:
            return Reply({"message": f"No such image: {request.body['Image']}"}, 404)
        name = request.query["name"]
        if self._found(name) is not None:
            return Reply({"message": f"The name {name} is in use"}, 409)
        created = Created(f"{next(self._numbers):064x}", name, request.body)
        self.created.append(created)
        return Reply({"Id": created.id, "Warnings": []}, 201)

    @route("GET", f"{ONE}/json")
    def inspect(self, request: Request) -> Reply:
        created = self._found(request.names[1])
        return Reply(created.description) if created else self._missing(request)

    @route("POST", f"{ONE}/start")
    def start(self, request: Request) -> Reply:
        created = self._found(request.names[1])
        if created is None:
            return self._missing(request)
        variables = dict(variable.split("=", 1) for variable in created.body["Env"])
        directory = self._directory / created.name
        created.container = Container(
            directory, created.body, created.body["Cmd"], variables, self._image
        )
        return NOTHING

    @route("POST", f"{ONE}/wait")
    def wait(self, request: Request) -> Reply:
        """Tell how a container has ended; whoever asks knows that it has."""
        created = self._found(request.names[1])
        return (
            Reply({"StatusCode": created.description["State"]["ExitCode"]})
            if created
            else (self._missing(request))
        )

    @route("POST", f"{ONE}/stop")
    def stop(self, request: Request) -> Reply:
        created = self._found(request.names[1])
        if created is None or created.container is None:
            return self._missing(request)
        created.container.ask_to_end()
        return NOTHING

    def _found(self, name: str) -> Created | None:
        return next(
            (container for container in self.created if name in (container.id, container.name)),
            None,
        )

    def _missing(self, request: Request) -> Reply:
        return Reply({"message": f"No such container: {request.names[1]}"}, 404)
