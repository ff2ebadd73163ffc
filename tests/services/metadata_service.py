"""Metaflow's metadata service, as far as flows and Metaflow's client use it, kept in memory.

The real one is a container image with a PostgreSQL database. What this one answers follows its
version 2.5: https://github.com/Netflix/metaflow-service, services/metadata_service/api.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.services.web import Reply, Request, WebServer, route

Path = tuple[str, ...]  # flow, run, step and task, as far as an object goes
Row = dict[str, Any]

FLOW = "/flows/{flow}"
RUN = f"{FLOW}/runs/{{run}}"
STEP = f"{RUN}/steps/{{step}}"
TASK = f"{STEP}/tasks/{{task}}"
IDS = ("flow_id", "run_number", "step_name", "task_id")

NOT_FOUND = Reply({"message": "not found"}, 404)
CONFLICT = Reply({"message": "Conflict: the id exists already"}, 409)
NUMERIC = Reply({"message": "provided name may not be a numeric"}, 400)


class MetadataService(WebServer):
    """The service; it answers those only who send the headers it requires."""

    def __init__(self, required_headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.objects: dict[Path, Row] = {}
        self.artifacts: dict[Path, list[Row]] = {}
        self.metadata: dict[Path, list[Row]] = {}
        self.heartbeats: list[Path] = []
        self._required_headers = required_headers or {}
        self._last_id = 0

    def refusal(self, request: Request) -> Reply | None:
        for name, value in self._required_headers.items():
            if request.headers.get(name.lower()) != value:
                return Reply({"message": "Forbidden"}, 403)
        return None

    @route("GET", "/ping")
    def ping(self, request: Request) -> Reply:
        return Reply("pong", headers={"METADATA_SERVICE_VERSION": "2.5.0"})

    @route("GET", FLOW, RUN, STEP, TASK)
    def read(self, request: Request) -> Reply:
        row = self.objects.get(request.names)
        return Reply(self._with_tags_of_run(request.names, row)) if row else NOT_FOUND

    @route("GET", "/flows", f"{FLOW}/runs", f"{RUN}/steps", f"{STEP}/tasks")
    def read_children(self, request: Request) -> Reply:
        if request.names and request.names not in self.objects:
            return NOT_FOUND
        children = self._below(request.names, len(request.names) + 1)
        return Reply([self._with_tags_of_run(path, self.objects[path]) for path in children])

    @route("POST", FLOW, f"{STEP}/step")
    def create_named(self, request: Request) -> Reply:
        return self._create(request.names, request.body)

    @route("POST", f"{FLOW}/run", f"{STEP}/task")
    def create_numbered(self, request: Request) -> Reply:
        """Create a run or a task, with a number for its id if it is not given one.

        Those that are given one keep a number as well; but what the service exposes is the name.
        """
        given = request.body.get(IDS[len(request.names)])
        if given is not None and str(given).isnumeric():
            return NUMERIC
        self._last_id += 1
        return self._create((*request.names, str(given or self._last_id)), request.body)

    @route("POST", f"{RUN}/heartbeat", f"{TASK}/heartbeat")
    def beat(self, request: Request) -> Reply:
        if request.names not in self.objects:
            return NOT_FOUND
        self.heartbeats.append(request.names)
        return Reply(json.dumps({"wait_time_in_seconds": 10}))

    @route("PATCH", f"{RUN}/tag/mutate")
    def mutate_tags(self, request: Request) -> Reply:
        run = self.objects.get(request.names)
        if run is None:
            return NOT_FOUND
        removed = set(request.body["tags_to_remove"])
        if removed & set(run["system_tags"]):
            return Reply({"message": "Cannot remove tags that are existing system tags"}, 422)
        added = set(request.body["tags_to_add"]) - set(run["system_tags"])
        run["tags"] = sorted((set(run["tags"]) | added) - removed)
        return Reply({"tags": run["tags"]})

    @route("POST", f"{TASK}/metadata")
    def add_metadata(self, request: Request) -> Reply:
        if request.names not in self.objects:
            return NOT_FOUND
        for row in request.body:
            self._last_id += 1
            self._add(self.metadata, request.names, {**row, "id": self._last_id})
        return Reply({"metadata_created": len(request.body)})

    @route("GET", f"{RUN}/metadata", f"{TASK}/metadata")
    def read_metadata(self, request: Request) -> Reply:
        return Reply([row for task in self._tasks(request.names) for row in self._metadata(task)])

    @route("GET", f"{STEP}/filtered_tasks")
    def filter_tasks(self, request: Request) -> Reply:
        field, pattern = (request.query.get(name) for name in ("metadata_field_name", "pattern"))
        fitting = [
            "/".join(task)
            for task in self._tasks(request.names)
            if any(
                field in (None, row["field_name"]) and re.search(pattern or "", row["value"])
                for row in self._metadata(task)
            )
        ]
        return Reply(fitting)

    @route("POST", f"{TASK}/artifact")
    def add_artifacts(self, request: Request) -> Reply:
        if request.names not in self.objects:
            return NOT_FOUND
        known = {(row["name"], row["attempt_id"]) for row in self._artifacts(request.names)}
        new = [row for row in request.body if (row["name"], row["attempt_id"]) not in known]
        for row in new:
            self._add(self.artifacts, request.names, row)
        return Reply({"artifacts_created": len(new)})

    @route("GET", f"{RUN}/artifacts", f"{STEP}/artifacts", f"{TASK}/artifacts")
    def read_artifacts(self, request: Request) -> Reply:
        tasks = self._tasks(request.names)
        return Reply([row for task in tasks for row in self._latest(self._artifacts(task))])

    @route("GET", f"{TASK}/attempt/{{attempt}}/artifacts")
    def read_artifacts_of_attempt(self, request: Request) -> Reply:
        *task, attempt = request.names
        return Reply(self._of_attempt(self._artifacts(tuple(task)), attempt))

    @route("GET", f"{TASK}/artifacts/{{name}}")
    def read_artifact(self, request: Request) -> Reply:
        *task, name = request.names
        return self._only(self._latest(self._artifacts(tuple(task))), name)

    @route("GET", f"{TASK}/artifacts/{{name}}/attempt/{{attempt}}")
    def read_artifact_of_attempt(self, request: Request) -> Reply:
        *task, name, attempt = request.names
        return self._only(self._of_attempt(self._artifacts(tuple(task)), attempt), name)

    def _create(self, path: Path, body: Row) -> Reply:
        if path in self.objects:
            return CONFLICT
        if path[:-1] and path[:-1] not in self.objects:
            return NOT_FOUND
        self.objects[path] = {
            **dict(zip(IDS, path, strict=False)),
            "user_name": body.get("user_name"),
            "ts_epoch": int(time.time() * 1000),
            "tags": body.get("tags", []),
            "system_tags": body.get("system_tags", []),
        }
        return Reply(self._with_tags_of_run(path, self.objects[path]))

    def _with_tags_of_run(self, path: Path, row: Row) -> Row:
        """Tags belong to runs; whatever is below one shows those of the run."""
        run = self.objects.get(path[:2]) if len(path) > 2 else None
        return {**row, **({key: run[key] for key in ("tags", "system_tags")} if run else {})}

    def _add(self, rows: dict[Path, list[Row]], task: Path, row: Row) -> None:
        now = int(time.time() * 1000)
        ids = dict(zip(IDS, task, strict=True))
        rows.setdefault(task, []).append({"system_tags": [], **row, **ids, "ts_epoch": now})

    def _artifacts(self, task: Path) -> list[Row]:
        rows = self.artifacts.get(task, ())
        return [self._with_tags_of_run(task, row) for row in rows]

    def _metadata(self, task: Path) -> Sequence[Row]:
        return self.metadata.get(task, ())

    def _tasks(self, path: Path) -> Sequence[Path]:
        return list(self._below(path, len(IDS)))

    def _below(self, path: Path, length: int) -> Iterator[Path]:
        """The newest first, as the service gives them."""
        for each in reversed(self.objects):
            if len(each) == length and each[: len(path)] == path:
                yield each

    def _latest(self, rows: Sequence[Row]) -> list[Row]:
        last = max((int(row["attempt_id"]) for row in rows), default=0)
        return self._of_attempt(rows, last)

    def _of_attempt(self, rows: Sequence[Row], attempt: int | str) -> list[Row]:
        return [row for row in rows if int(row["attempt_id"]) == int(attempt)]

    def _only(self, rows: Sequence[Row], name: str) -> Reply:
        return next((Reply(row) for row in rows if row["name"] == name), NOT_FOUND)
