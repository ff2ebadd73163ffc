"""Partitions: the parameters of a run that are the key of its partition."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DynamicPartitionsDefinition,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    OpExecutionContext,
    PartitionsDefinition,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    TimeWindowPartitionsDefinition,
)

from metaflow_dagster.internals.execution import DagsterTimes
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.settings import METAFLOW_PARTITION_TAG

LONGEST_PAUSES = (2, 40, 400, 4000)  # days between two times of a schedule, tried in turn


# What a schedule of runs with partitions gives at one of its times.
ScheduledRuns: TypeAlias = Sequence[RunRequest] | SkipReason


class PartitionParameters:
    """The parameters that the partition of a run gives values to: one or two, each a dimension.

    `window_end` is the parameter that gets the end of a time window, in `window_format`.
    """

    def __init__(
        self, *names: str, window_end: str | None = None, window_format: str = "%Y-%m-%d"
    ) -> None:
        self.names = names
        self.window_end = window_end
        self.window_format = window_format

    def values(self, context: OpExecutionContext) -> dict[str, str]:
        """The values of the parameters in a run; `Failure` if the run has no partition."""
        if not context.has_partition_key:
            raise final_failure(
                f"Parameter {self.names[0]} is the key of a partition, and this run has none. "
                "Choose one where you launch the run, as with "
                "`dagster trigger --partition KEY`."
            )
        values = self.keys(context.partition_key)
        if self.window_end is not None:
            end = context.partition_time_window.end
            values[self.window_end] = end.strftime(self.window_format)
        return values

    def keys(self, partition: str) -> dict[str, str]:
        """The keys of a partition, by parameter."""
        if isinstance(partition, MultiPartitionKey):
            return {name: partition.keys_by_dimension[name] for name in self.names}
        return {self.names[0]: str(partition)}

    def tags(self, context: OpExecutionContext) -> list[str]:
        """Metaflow's tags of the run, by which its client finds the run of a partition."""
        if not context.has_partition_key:  # as a run that resumes one without
            return []
        return [f"--tag={METAFLOW_PARTITION_TAG}:{context.partition_key}"]


def dimensions_of(partitions: PartitionsDefinition[Any]) -> dict[str, PartitionsDefinition[Any]]:
    """The dimensions of partitions, by name; partitions of one dimension are without a name."""
    if isinstance(partitions, MultiPartitionsDefinition):
        return {each.name: each.partitions_def for each in partitions.partitions_defs}
    return {"": partitions}


def why_no_partition(partitions: PartitionsDefinition[Any], key: str) -> str:
    """Why partitions of one dimension cannot have a key; empty if they can, or do."""
    if isinstance(partitions, DynamicPartitionsDefinition):
        return "" if key.isprintable() and key.strip() else f"{key!r} is no key"
    try:
        known = partitions.has_partition_key(key)
    except ValueError:  # a text that is no time
        known = False
    return "" if known else f"there is no {key!r}; the last is {last_key(partitions)}"


def last_key(partitions: PartitionsDefinition[Any]) -> str:
    """The last key that there is, as an example of one."""
    return next(reversed(partitions.get_partition_keys()), "not there yet")


class EventPartitions:
    """The partitions that events choose of, by parameters that are their keys."""

    def __init__(self, definition: PartitionsDefinition[Any], *names: str) -> None:
        self.names = names
        dimensions = dimensions_of(definition)
        self.dimensions = {name: dimensions.get(name, definition) for name in names}

    def check(self, parameter: str, key: str) -> str:
        """Why there can be no partition of a key; empty if there can be."""
        return why_no_partition(self.dimensions[parameter], key)

    def keys(self, partition: str | None) -> Mapping[str, str]:
        """The keys of the partition of a run that has ended, by parameter."""
        if not partition:
            return {}
        parts = partition.split("|") if len(self.names) > 1 else [partition]
        names = sorted(self.names)  # as Dagster has the dimensions in a key
        return dict(zip(names, parts, strict=True)) if len(parts) == len(names) else {}

    def partition(self, keys: Mapping[str, str]) -> str:
        """The partition of some keys by parameter."""
        return MultiPartitionKey(keys) if len(self.names) > 1 else keys[self.names[0]]

    def added(
        self, chosen: Sequence[Mapping[str, Any]], instance: DagsterInstance
    ) -> Sequence[AddDynamicPartitionsRequest]:
        """The partitions to add, for the values by parameter of some runs."""
        requests = []
        for name, partitions in self.dimensions.items():
            if isinstance(partitions, DynamicPartitionsDefinition):
                known = str(partitions.name)
                keys = dict.fromkeys(values[name] for values in chosen)
                new = [key for key in keys if not instance.has_dynamic_partition(known, key)]
                requests += [AddDynamicPartitionsRequest(known, new)] if new else []
        return requests


def scheduled_partitions(
    context: ScheduleEvaluationContext, partitions: PartitionsDefinition[Any], cron: str, zone: str
) -> ScheduledRuns:
    """A run for each partition that has come since the schedule's time before this one.

    Partitions that are no time windows are run at each time, all of them.
    """
    now = context.scheduled_execution_time
    found = {
        name: new_keys(each, now, time_before(now, cron, zone), context.instance)
        for name, each in dimensions_of(partitions).items()
    }
    keys = combined_keys(found)
    if not keys:
        return SkipReason(f"No partition has come since the time before {now}.")
    return [RunRequest(f"{now.isoformat()} {key}", partition_key=key) for key in keys]


def new_keys(
    partitions: PartitionsDefinition[Any],
    now: datetime,
    before: datetime,
    instance: DagsterInstance,
) -> Sequence[str]:
    """The keys that have come since some time, or all of partitions that are no time windows."""
    keys = partitions.get_partition_keys(current_time=now, dynamic_partitions_store=instance)
    if not isinstance(partitions, TimeWindowPartitionsDefinition):
        return keys
    known = len(partitions.get_partition_keys(current_time=before))
    return keys[known:]


def combined_keys(found: Mapping[str, Sequence[str]]) -> list[str]:
    """The keys of partitions, of those of their dimensions."""
    if "" in found:
        return list(found[""])
    (first, keys), (second, others) = found.items()
    return [MultiPartitionKey({first: one, second: other}) for one in keys for other in others]


def time_before(now: datetime, cron: str, zone: str) -> datetime:
    """The time of a schedule that precedes another of its times."""
    for days in LONGEST_PAUSES:
        begin = (now - timedelta(days=days)).timestamp()
        earlier = begin
        for moment in DagsterTimes.after(begin, cron, zone):
            if moment >= now:
                break
            earlier = moment.timestamp()
        if earlier > begin:
            return datetime.fromtimestamp(earlier, timezone.utc)
    return datetime.fromtimestamp(begin, timezone.utc)
