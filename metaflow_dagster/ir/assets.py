"""Partitions of a flow's runs, artifacts that are assets, and checks of what steps have left.

A part of the first intermediate representation, which options say and not the flow's source.
Everything here is frozen. Unions are closed: match them with `match` and `assert_never`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Interval(Enum):
    """How long the time windows of partitions are."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True)
class TimePartitions:
    """A partition for each time window from `start` on; its key is the start of the window.

    `start` and `end` are in `format`, which keys have. `timezone` is None for UTC. `offsets` are
    pairs of a keyword of Dagster's, such as `hour_offset`, and its value.
    """

    interval: Interval
    start: str
    format: str
    end: str | None = None
    timezone: str | None = None
    offsets: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        end = f" to {self.end}" if self.end else ""
        return f"{self.interval.value} from {self.start}{end}"


@dataclass(frozen=True, slots=True)
class StaticPartitions:
    """A partition for each of some keys."""

    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {len(self.keys)}"


@dataclass(frozen=True, slots=True)
class DynamicPartitions:
    """Partitions that are added while Dagster runs, under a name that the instance knows."""

    name: str

    def __str__(self) -> str:
        return f"any that {self.name} has"


Partitions: TypeAlias = TimePartitions | StaticPartitions | DynamicPartitions


@dataclass(frozen=True, slots=True)
class Dimension:
    """Partitions of a flow, whose keys are the values of `parameter`.

    `window_end` is the parameter that gets the end of a time window.
    """

    parameter: str
    partitions: Partitions
    window_end: str | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that a partition gives a value to."""
        return (self.parameter, self.window_end) if self.window_end else (self.parameter,)


@dataclass(frozen=True, slots=True)
class ArtifactAsset:
    """An artifact of a step that is an asset, with its key.

    `join` is the step that joins the outermost foreach that the step is in, None if it is in none.
    """

    step: str
    artifact: str
    key: tuple[str, ...]
    join: str | None = None

    @property
    def materialized_by(self) -> str:
        """The step after which the artifact is there as a whole."""
        return self.join or self.step


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether an artifact compares with a value as Python's `operator` says."""

    operator: str
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class IsNone:
    """Whether an artifact is None, or, if not `wanted`, whether it is not."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class IsTrue:
    """Whether an artifact is True, or, if not `wanted`, False."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class ArtifactCheck:
    """A check of an artifact.

    If it fails, Dagster shows an error, or a warning if `only_warns`; if it is `blocking`, the run
    does not go on after an error.
    """

    name: str
    step: str
    artifact: str
    condition: Comparison | IsNone | IsTrue
    only_warns: bool = False
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class CheckFunction:
    """A check of a step's task by a function of the project's, which gets the pathspec."""

    name: str
    step: str
    module: str
    function: str
    only_warns: bool = False
    blocking: bool = False


Check: TypeAlias = ArtifactCheck | CheckFunction
