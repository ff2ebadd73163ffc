"""The partitions of a job: which there are, and what has become of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Final

from metaflow_dagster.operate.errors import RunNotStarted
from metaflow_dagster.operate.runs import ORIGIN_TAG, PARTITION_TAG, DagsterRun, Launch, Phase
from metaflow_dagster.shell import shell_word

# dagster/_core/storage/tags.py, and dagster/_core/definitions/partitions/utils/multi.py
PARTITION_SET_TAG: Final = "dagster/partition_set"
_SEPARATOR: Final = "|"
_SHOWN: Final = 5  # keys in a message


@dataclass(frozen=True)
class PartitionDimension:
    """Keys in their order; `added_to` is the name under which Dagster adds new ones, if it does."""

    name: str
    keys: Sequence[str]
    added_to: str | None = None

    @cached_property
    def known(self) -> frozenset[str]:
        """The keys, to look whether there is one: there may be many thousands."""
        return frozenset(self.keys)


@dataclass(frozen=True, slots=True)
class JobPartitions:
    """The partitions of a job: of no dimension if its runs have none."""

    job: str
    dimensions: Sequence[PartitionDimension]

    def keys(self) -> list[str]:
        """The keys of all partitions, in order."""
        if not self.dimensions:
            return []
        return [_SEPARATOR.join(parts) for parts in product(*(d.keys for d in self._sorted()))]

    def tags(self, key: str) -> dict[str, str]:
        """What Dagster tags the run of a partition with."""
        tags = {PARTITION_TAG: key, PARTITION_SET_TAG: f"{self.job}_partition_set"}
        if len(self.dimensions) > 1:
            for dimension, part in zip(self._sorted(), key.split(_SEPARATOR), strict=True):
                tags[f"{PARTITION_TAG}/{dimension.name}"] = part
        return tags

    def new_keys(self, key: str) -> Iterator[tuple[str, str]]:
        """The keys to add so that there is a partition, each after the name of what they are of.

        Raises
        ------
        RunNotStarted : there can be no such partition
        """
        parts = key.split(_SEPARATOR) if len(self.dimensions) > 1 else [key]
        if len(parts) != len(self.dimensions):
            raise RunNotStarted(self._unknown(key))
        for dimension, part in zip(self._sorted(), parts, strict=True):
            if part in dimension.known:
                continue
            if dimension.added_to is None or not (part.strip() and part.isprintable()):
                raise RunNotStarted(self._unknown(key))
            yield dimension.added_to, part

    def run_tags(self, launch: Launch, add: Callable[[str, str], None]) -> Mapping[str, str]:
        """The tags by which a run is of its partition; `add` adds a key to those under a name."""
        if launch.partition is None:
            self._check_none(launch)
            return {}
        for name, key in self.new_keys(launch.partition):
            add(name, key)
        return self.tags(launch.partition)

    def _check_none(self, launch: Launch) -> None:
        """Refuse a run without a partition, unless it goes on with one that had none."""
        if self.dimensions and ORIGIN_TAG not in launch.tags:
            names = " and ".join(dimension.name for dimension in self.dimensions if dimension.name)
            example = next(reversed(self.keys()), "KEY")
            raise RunNotStarted(
                f"The runs of {self.job} have partitions{f' by {names}' if names else ''}. Choose "
                f"one, as with `--partition {shell_word(example)}`."
            )

    def check_some(self) -> None:
        """Refuse a job whose runs have no partitions."""
        if not self.dimensions:
            raise RunNotStarted(self._unknown(""))

    def between(self, first: str, last: str) -> list[str]:
        """The keys from one to another: two partitions, or two keys of one dimension."""
        keys = self.keys()
        if first in keys and last in keys:
            return keys[keys.index(first) : keys.index(last) + 1]
        for place, dimension in enumerate(self._sorted()):
            if {first, last} <= dimension.known:
                begin, end = map(list(dimension.keys).index, (first, last))
                chosen = set(dimension.keys[begin : end + 1])
                return [key for key in keys if key.split(_SEPARATOR)[place] in chosen]
        known = {*keys, *(key for dimension in self.dimensions for key in dimension.keys)}
        raise RunNotStarted(self._unknown(last if first in known else first))

    def _sorted(self) -> list[PartitionDimension]:
        """The dimensions in the order of their keys in that of a partition."""
        return sorted(self.dimensions, key=lambda dimension: dimension.name)

    def _unknown(self, key: str) -> str:
        if not self.dimensions:
            return (
                f"The runs of {self.job} have no partitions. Compile the flow with --partition "
                "PARAMETER=PARTITIONS, or leave the partition out."
            )
        keys = self.keys()
        shown = ", ".join(keys[-_SHOWN:]) or "none yet"
        last = f"the last of {len(keys)} are " if len(keys) > _SHOWN else ""
        return f"{self.job} has no partition {key!r}; {last}{shown}."


def latest_runs(runs: Iterable[DagsterRun], keys: Sequence[str]) -> Mapping[str, DagsterRun]:
    """The latest run of each partition that has one, of runs with the latest first."""
    wanted = set(keys)
    found: dict[str, DagsterRun] = {}
    for run in runs:
        key = run.tags.get(PARTITION_TAG)
        if key in wanted and key not in found:
            found[key] = run
            if len(found) == len(wanted):
                break
    return found


def selected(
    partitions: JobPartitions, runs: Iterable[DagsterRun], missing: bool, failed: bool
) -> list[str]:
    """The partitions without any run, or those whose last run has failed, or both."""
    keys = partitions.keys()
    latest = latest_runs(runs, keys)
    return [
        key
        for key in keys
        if (missing and key not in latest)
        or (failed and key in latest and latest[key].phase is Phase.FAILED)
    ]
