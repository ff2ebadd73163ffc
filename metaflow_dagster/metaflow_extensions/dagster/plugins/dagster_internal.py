"""The step decorator with which a generated file tells Metaflow what Dagster knows of a task.

It is part of the extension and imports nothing of metaflow-dagster: Metaflow imports it in every
process where the extension is, and packs the extension with the code of steps that run elsewhere.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from metaflow import current
from metaflow.decorators import StepDecorator
from metaflow.events import Trigger
from metaflow.metadata_provider import MetaDatum

# Metadata of a task, by the environment variable that holds it.
_METADATA = {
    "METAFLOW_DAGSTER_RUN_ID": "dagster-run-id",
    "METAFLOW_DAGSTER_JOB_NAME": "dagster-job-name",
    "METAFLOW_DAGSTER_OP": "dagster-op",
    "METAFLOW_OWNER": "dagster-owner",
}
_TRIGGERS = "METAFLOW_DAGSTER_TRIGGERS"
_TEXTS = ("id", "name", "type")  # of an event, beside its timestamp


class DagsterInternalDecorator(StepDecorator):
    """Registers which op of which Dagster run a task is of, and sets `current.trigger`.

    Both stand in the environment, which does not reach tasks that decorators run elsewhere. These
    get it by `known`, an attribute that is in their command.
    """

    name = "dagster_internal"
    defaults: ClassVar[dict[str, str | None]] = {"known": None}

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        """Take along what is known here; called where decorators take part in starting a step."""
        self.attributes["known"] = packed(os.environ)

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: Any,
        inputs: Any,
    ) -> None:
        """Do so before the user's code runs."""
        environment = {**os.environ, **unpacked(self.attributes["known"])}
        known = {field: environment.get(name) for name, field in _METADATA.items()}
        triggers = events(environment)
        if triggers:
            current._update_env({"trigger": Trigger(triggers)})
            if step_name == graph.start_step:
                known["execution-triggers"] = json.dumps(triggers)
        tags = [f"attempt_id:{retry_count}"]
        entries = [
            MetaDatum(field=field, value=value, type=field, tags=tags)
            for field, value in known.items()
            if value
        ]
        if entries:
            metadata.register_metadata(run_id, step_name, task_id, entries)


def packed(environment: Mapping[str, str]) -> str:
    """The facts about a task, as text that no shell and no command line gets wrong."""
    known = {name: environment[name] for name in (*_METADATA, _TRIGGERS) if name in environment}
    return base64.urlsafe_b64encode(json.dumps(known).encode()).decode().rstrip("=")


def unpacked(text: str | None) -> dict[str, str]:
    """The opposite of `packed`."""
    if text is None:
        return {}
    known: dict[str, str] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return known


def events(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """The events that have triggered the run, in the form that Metaflow's `Trigger` takes.

    What is malformed is left out: a step does not fail for what somebody has sent.
    """
    try:
        given = json.loads(environment.get(_TRIGGERS) or "[]")
    except (ValueError, RecursionError):
        return []
    return list(_well_formed(given)) if isinstance(given, list) else []


def _well_formed(given: list[Any]) -> Iterator[dict[str, Any]]:
    for event in given:
        if isinstance(event, dict) and all(isinstance(event.get(key), str) for key in _TEXTS):
            texts = {key: event[key] for key in _TEXTS}
            # Metaflow takes the id of a run's event for the path of a task of it.
            if texts["type"] != "run" or texts["id"].count("/") >= 2:
                yield {"timestamp": _timestamp(event.get("timestamp")), **texts}


def _timestamp(given: Any) -> int | None:
    """Seconds of which Metaflow can make a date."""
    try:
        seconds = int(given)
        datetime.fromtimestamp(seconds)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return seconds
