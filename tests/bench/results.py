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

    def difference(self, work: str, runner: str, reference: str) -> float | None:
        """How much more than the reference, in the middle of the rounds."""
        return middle(pair_differences(self.values(work, runner), self.values(work, reference)))

    def slope(self, small: Size, large: Size, runner: str) -> float | None:
        """What one more costs, from a small work to a large one, in the middle of the rounds."""
        return middle(self._slopes(small, large, runner))

    def slope_ratio(self, small: Size, large: Size, runner: str, reference: str) -> float | None:
        """How many times the slope of the reference, in the middle of the rounds."""
        own, other = (self._slopes(small, large, one) for one in (runner, reference))
        return middle(pair_ratios(own, other))

    def _slopes(self, small: Size, large: Size, runner: str) -> tuple[float, ...]:
        more = pair_differences(self.values(large.work, runner), self.values(small.work, runner))
        return tuple(one / (large.size - small.size) for one in more)


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


def quotient(value: float | None, other: float | None) -> float | None:
    """A ratio, if both are known."""
    return None if value is None or other is None else value / other
