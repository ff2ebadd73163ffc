"""Schedules and sensors: what launches runs of a job without anybody asking for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of an automation, by the name of Dagster's command for it."""

    SCHEDULE = "schedule"
    SENSOR = "sensor"


class Change(Enum):
    """A change of an automation, by the name of Dagster's command for it."""

    SUSPEND = "stop"
    UNSUSPEND = "start"

    @property
    def status(self) -> str:
        """The status of an automation on a server after the change."""
        return {"stop": "STOPPED", "start": "RUNNING"}[self.value]


@dataclass(frozen=True, slots=True)
class Automation:
    """A schedule or sensor; a server keeps under `state_id` whether it is on, its `status`."""

    kind: Kind
    name: str
    state_id: str = ""
    status: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"
