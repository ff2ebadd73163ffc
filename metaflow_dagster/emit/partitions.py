"""The partitions of the runs of a flow.

TrainFlow_partitions = MultiPartitionsDefinition(
    {
        "day": DailyPartitionsDefinition(start_date="2026-01-01"),
        "region": StaticPartitionsDefinition(partition_keys=["eu", "us"]),
    }
)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    call,
    literal,
    name,
    text_dict,
)
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.ir.assets import (
    Dimension,
    TimePartitions,
)
from metaflow_dagster.partitions import definition_of


def partitions_name(job: str) -> str:
    """The name of the partitions in the file of a job."""
    return f"{job}_partitions"


def partitions_statement(
    identifier: str, dimensions: Sequence[Dimension], scope: ModuleScope
) -> Statement:
    """The partitions of a flow that has some."""
    parts = {each.parameter: _definition(each, scope) for each in dimensions}
    if len(parts) == 1:
        return assign(name(identifier), *parts.values())
    return assign(name(identifier), call(scope.ref("MultiPartitionsDefinition"), text_dict(parts)))


def partition_parameters(dimensions: Sequence[Dimension], scope: ModuleScope) -> Expression | None:
    """The parameters that the partition of a run gives values to, for the settings."""
    if not dimensions:
        return None
    names = [literal(each.parameter) for each in dimensions]
    end = next(filter(None, map(_window_end, dimensions)), {})
    return call(scope.ref("PartitionParameters"), *names, keywords=end)


def _window_end(dimension: Dimension) -> Mapping[str, Expression]:
    """The parameter that gets the end of the time window, and its format."""
    match dimension:
        case Dimension(_, TimePartitions(format=text), str(parameter)):
            return {"window_end": literal(parameter), "window_format": literal(text)}
        case _:
            return {}


def _definition(dimension: Dimension, scope: ModuleScope) -> Expression:
    definition, keywords = definition_of(dimension.partitions)
    values = {keyword: literal(value) for keyword, value in keywords.items()}
    return call(scope.ref(definition), keywords=values)
