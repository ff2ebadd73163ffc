"""Flows that events, other runs and times start, on a Dagster whose parts are processes.

Each code location has a server of its own, as in production; so the daemon, which looks at the
sensors and starts the runs, can be killed by itself.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.operated import Place, Server, answers, free_port, running, start, stop, until
from tests.services.web import Reply, Request, WebServer, route
from tests.support import checked, use_client

WEBHOOK = "METAFLOW_DAGSTER_WEBHOOK_URL"
SECRET = "s3cr3t"  # in the path of every webhook

FLOWS = {
    "orders": """
@trigger(event={"name": "sales/orders", "parameters": {
    "count": "n", "price": "price", "express": "express", "options": "options", "city": "city"
}})
class OrdersFlow(FlowSpec):
    count = Parameter("count", type=int, required=True)
    price = Parameter("price", default=1.5)
    express = Parameter("express", default=False)
    options = Parameter("options", type=JSONType, default="{}")
    city = Parameter("city", default="Ulm")

    @step
    def start(self):
        self.given = [self.count, self.price, self.express, self.options, self.city]
        self.event = current.trigger.event._asdict()
""",
    "clock": """
@schedule(cron="* * * * *")
@trigger(event="repairs")
class ClockFlow(FlowSpec):
    broken = Parameter("broken", default=False)

    @step
    def start(self):
        if self.broken:
            raise ValueError("no luck")
        self.trigger = getattr(current, "trigger", None)
""",
    "articles": """
class ArticlesFlow(FlowSpec):
    @step
    def start(self):
        self.made = "articles"
""",
    "baskets": """
@project(name="shop")
class BasketsFlow(FlowSpec):
    @step
    def start(self):
        self.made = "baskets"
""",
    "report": """
@trigger_on_finish(flows=[
    "ArticlesFlow", {"name": "BasketsFlow", "project": "shop", "project_branch": "user.tester"}
])
class ReportFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        runs = current.trigger.runs
        self.upstream = {run.pathspec: run.end_task.data.made for run in runs}
        self.events = [event._asdict() for event in current.trigger.events]
""",
}

# Flows whose runs stay in the queue, as only how they start is of interest; each by its event.
HELD = {"burst": "BurstFlow", "odd": "OddFlow", "spoiled": "SpoiledFlow"}
FLOWS |= {
    event: f"""
@trigger(event="{event}")
class {name}(FlowSpec):
    number = Parameter("number", type=int, required=True)

    @step
    def start(self):
        pass
"""
    for event, name in HELD.items()
}

SOURCE = """
from metaflow import (
    FlowSpec, JSONType, Parameter, current, project, schedule, step, trigger, trigger_on_finish
)
{flow}
if __name__ == "__main__":
    {name}()
"""


class Webhook(WebServer):
    """Takes notices; of a failure, it does not take the first two."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Mapping[str, str]] = []
        self.taken: list[Mapping[str, str]] = []

    @route("POST", f"/{SECRET}")
    def take(self, request: Request) -> Reply:
        self.attempts.append(request.body)
        of_failures = [attempt for attempt in self.attempts if attempt["status"] == "FAILURE"]
        if request.body in of_failures and len(of_failures) < 3:
            return Reply({}, 500)
        self.taken.append(request.body)
        return Reply({})


@dataclass
class Automated:
    """The place and what runs there: `started` is when the daemon was started first."""

    place: Place
    server: Server
    webhook: Webhook
    instance: Any
    started: float
    daemon: subprocess.Popen[bytes] | None = None

    def publish(self, event: str, metadata: Mapping[str, object]) -> None:
        """Publish an event as Dagster's documentation of its REST API does."""
        request = urllib.request.Request(
            f"{self.server.url}/report_asset_materialization/{event}",
            json.dumps({"metadata": metadata}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response) == {}

    def runs(self, job: str) -> Sequence[Any]:
        """The runs of a job, the oldest first."""
        from dagster import RunsFilter

        records = self.instance.get_run_records(RunsFilter(job_name=job), ascending=True)
        return [record.dagster_run for record in records]

    def created(self, run: Any) -> float:
        """When a run was created."""
        return float(self.instance.get_run_record_by_id(run.run_id).create_timestamp.timestamp())

    def count(self, job: str) -> int:
        """How many runs a job has."""
        from dagster import RunsFilter

        return int(self.instance.get_runs_count(RunsFilter(job_name=job)))

    def await_runs(self, job: str, count: int, pause: float = 0.3) -> None:
        """Wait until a job has so many runs."""
        until(lambda: self.count(job) >= count, pause)

    def ended(self, job: str, count: int) -> Sequence[Any]:
        """The runs of a job, as soon as so many of them have ended."""

        def found() -> Sequence[Any]:
            runs = [run for run in self.runs(job) if run.is_finished]
            return runs if len(runs) >= count else []

        return list(until(found))

    def artifacts(self, flow: str, run: Any, *names: str, step: str = "start") -> list[Any]:
        """What the only task of a step has made in a run."""
        from metaflow import Step

        use_client(self.place.directory)
        task = Step(f"{flow}/{run.tags['metaflow/run_id']}/{step}").task
        return [task[name].data for name in names]

    def ticks(self, name: str, after: float = 0, limit: int = 100) -> Sequence[Any]:
        """The looks of a sensor or schedule that have begun after some time, the latest first."""
        states = [each for each in self.instance.all_instigator_state() if each.name == name]
        if not states:  # nobody has looked at it yet
            return []
        (state,) = states
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit)
        return [tick for tick in ticks if tick.timestamp > after]

    def looks_again(self, sensor: str, after: float) -> Any:
        """A look of a sensor that begins after some time and is over."""
        return until(lambda: [tick for tick in self.ticks(sensor, after) if tick.is_completed])[-1]

    def said(self, sensor: str) -> str:
        """All that a sensor tells whoever opens it in the UI: the reasons and logs of its looks."""
        from dagster._core.definitions.instigation_logger import get_instigation_log_records

        ticks = self.ticks(sensor)
        logged = [
            record["msg"]
            for tick in ticks
            if tick.log_key  # there is none at first
            for record in get_instigation_log_records(self.instance, tick.log_key)
        ]
        errors = [tick.error.to_string() for tick in ticks if tick.error]
        return "\n".join([*logged, *errors, *(tick.skip_reason or "" for tick in ticks)])

    def start_daemon(self) -> None:
        """Start what looks at schedules and sensors and takes runs out of the queue."""
        assert self.daemon is None
        self.daemon = start(self.place, "dagster-daemon run -w workspace.yaml")

    def stop_daemon(self) -> None:
        """End it in order, if it is there."""
        if self.daemon is not None:
            stop(self.daemon)
        self.daemon = None

    def kill_daemon(self) -> None:
        """Let it end as if its machine had lost power."""
        assert self.daemon is not None
        os.killpg(self.daemon.pid, signal.SIGKILL)
        self.daemon.wait()
        self.daemon = None


@contextmanager
def automated(directory: Path) -> Iterator[Automated]:
    """Compile the flows, and start the parts of a Dagster."""
    from dagster import DagsterInstance

    place = new_place(directory)
    webhook = Webhook()
    port = free_port()
    with (
        webhook.serving(),
        # Dagster's databases are made here: processes that do it together break each other.
        DagsterInstance.from_config(str(place.home)) as instance,
        code_servers(place, webhook),
        running(place, f"dagster-webserver -w workspace.yaml -h 127.0.0.1 -p {port}"),
    ):
        found = Automated(place, Server(f"http://127.0.0.1:{port}"), webhook, instance, time.time())
        found.start_daemon()
        try:
            until(lambda: answers(found.server))
            yield found
        finally:
            found.stop_daemon()


def new_place(directory: Path) -> Place:
    """A place with the compiled flows."""
    (directory / ".metaflow").mkdir()
    place = Place(directory, directory / "home")
    place.home.mkdir()
    (place.home / "dagster.yaml").write_text(json.dumps(settings()))
    for file, source in FLOWS.items():
        (name,) = re.findall(r"class (\w+)", source)
        text = SOURCE.format(flow=source, name=name)
        (directory / f"{file}.py").write_text(text)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda command: checked(command, directory), commands()))
    return place


def settings() -> Mapping[str, object]:
    """The configuration of Dagster, by which the runs of some flows are held."""
    limits = [{"key": "metaflow/flow", "value": flow, "limit": 0} for flow in HELD.values()]
    return {
        "telemetry": {"enabled": False},
        "concurrency": {"runs": {"tag_concurrency_limits": limits}},
        "run_queue": {"dequeue_interval_seconds": 1},
    }


def commands() -> Iterator[Sequence[str]]:
    """What compiles the flows."""
    together = [f"{flow}.py" for flow in ("orders", *HELD)]
    console = str(Path(sys.executable).with_name("metaflow-dagster"))
    yield [console, "create", *together, "--output-dir", "sales"]
    for command in (
        "clock.py dagster create clock_dagster.py --notify-on-error --notify-on-success",
        "articles.py dagster create articles_dagster.py --name Renamed --notify-on-success",
        "baskets.py --branch other dagster create other_dagster.py",
        "baskets.py dagster create baskets_dagster.py",
        "report.py dagster create report_dagster.py --notify-on-success",
    ):
        yield [sys.executable, *command.split()]


@contextmanager
def code_servers(place: Place, webhook: Webhook) -> Iterator[None]:
    """A server for each code location, and the workspace that has them all.

    One has a webhook at which there is nobody, one has none.
    """
    unreachable = f"http://127.0.0.1:{free_port()}/{SECRET}"
    environments: Mapping[str, Mapping[str, str]] = {
        "sales/definitions.py": {},
        "clock_dagster.py": {WEBHOOK: f"{webhook.url}/{SECRET}"},
        "articles_dagster.py": {WEBHOOK: unreachable},
        "baskets_dagster.py": {},
        "report_dagster.py": {},
    }
    servers: list[dict[str, dict[str, Any]]] = []
    with ExitStack() as started:
        for file, environment in environments.items():
            port = free_port()
            command = f"dagster api grpc -f {file} --host 127.0.0.1 --port {port}"
            started.enter_context(running(place, command, **environment))
            server = {"host": "127.0.0.1", "port": port, "location_name": file}
            servers.append({"grpc_server": server})
        (place.directory / "workspace.yaml").write_text(json.dumps({"load_from": servers}))
        for each in servers:
            until(partial(accepts, each["grpc_server"]["port"]))
        yield


def accepts(port: int) -> bool:
    """Whether somebody listens on a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False
