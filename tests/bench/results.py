"""What was measured, and the arithmetic on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Series:
    """What one runner took for a work, in each round: seconds, or MiB."""

    work: str
    runner: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Results:
    """All that was measured. What lacks a measurement is None."""

    series: tuple[Series, ...]

    def values(self, work: str, runner: str) -> tuple[float, ...]:
        """One value a round, none if it was not measured."""
        found = (s.values for s in self.series if (s.work, s.runner) == (work, runner))
        return next(found, ())

    def median(self, work: str, runner: str) -> float | None:
        """The median of the rounds."""
        return middle(self.values(work, runner))

    def ratio(self, work: str, runner: str, reference: str) -> float | None:
        """How many times that of the reference, in the middle of the rounds."""
        return middle(pair_ratios(self.values(work, runner), self.values(work, reference)))

    def differences(self, work: str, runner: str, reference: str) -> tuple[float, ...]:
        """How much more than the reference, in each round."""
        return pair_differences(self.values(work, runner), self.values(work, reference))

    def slopes(self, small: Size, large: Size, runner: str) -> tuple[float, ...]:
        """What one more costs, from a small work to a large one, in each round."""
        more = pair_differences(self.values(large.work, runner), self.values(small.work, runner))
        return tuple(one / (large.size - small.size) for one in more)

    def shares(self, size: Size, runner: str) -> tuple[float, ...]:
        """What a work costs for each of which it has so many, in each round."""
        return tuple(one / size.size for one in self.values(size.work, runner))


@dataclass(frozen=True)
class Size:
    """A work and how much it is: of tasks, items or steps."""

    work: str
    size: int


def pair_ratios(values: Sequence[float], references: Sequence[float]) -> tuple[float, ...]:
    """Round by round, since what disturbs a round meets both; as far as both have rounds."""
    return tuple(value / other for value, other in zip(values, references, strict=False))


def pair_differences(values: Sequence[float], references: Sequence[float]) -> tuple[float, ...]:
    """Round by round, as far as both have rounds."""
    return tuple(value - other for value, other in zip(values, references, strict=False))


def middle(values: Sequence[float]) -> float | None:
    """The median, if there is one."""
    return median(values) if values else None
