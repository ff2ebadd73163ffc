"""Assets that are graphs of ops, which Dagster itself materializes."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    Config,
    ConfigMapping,
    GraphDefinition,
    PartitionsDefinition,
)

from metaflow_dagster.runtime.events import event_asset
from metaflow_dagster.runtime.io_manager import datastore_io_manager
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.sources import code_references, flow_description

END_OUTPUT = "result"  # of the graph: the flow's own asset


def start_config(op: str, fields: type[Config]) -> ConfigMapping:
    """The config of a graph: the parameters, which are those of the op of the first step."""
    return ConfigMapping(
        config_fn=lambda values: {op: {"config": values}}, config_schema=fields.to_config_schema()
    )


def flow_asset(
    flow: FlowSettings,
    graph: GraphDefinition,
    io_manager: str,
    upstream: Mapping[str, Sequence[str]],
    artifacts: Mapping[str, Sequence[str]],
    group_name: str,
    kinds: Collection[str],
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] = (),
    partitions_def: PartitionsDefinition[Any] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
) -> AssetsDefinition:
    """The assets of a flow: its own, and those of artifacts by the outputs of the graph.

    `upstream` are the keys of assets by the inputs of the graph, `artifacts` are in the order in
    which they are materialized; `io_manager` is the resource that keeps what ops pass on.
    """
    keys = {**asset_keys(artifacts), END_OUTPUT: event_asset(flow.end_event)}
    described = {
        END_OUTPUT: flow_description(flow),
        **dict.fromkeys(artifacts, f"An artifact of the Metaflow flow {flow.name}."),
    }
    every_tag = {**(tags or {}), **{f"dagster/kind/{kind}": "" for kind in kinds}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # resources of graphs are called beta since 1.9
        return AssetsDefinition.from_graph(
            graph,
            keys_by_input_name=asset_keys(upstream),
            keys_by_output_name=keys,
            internal_asset_deps=dependencies(graph, keys, {*asset_keys(upstream).values()}),
            partitions_def=partitions_def,
            resource_defs={io_manager: datastore_io_manager(flow)},
            group_name=group_name,
            descriptions_by_output_name=described,
            metadata_by_output_name={
                END_OUTPUT: {"dagster/code_references": code_references(flow)}
            },
            tags_by_output_name=dict.fromkeys(keys, every_tag),
            owners_by_output_name={output: list(owners) for output in keys},
            automation_conditions_by_output_name=dict.fromkeys(keys, automation_condition),
        )


def dependencies(
    graph: GraphDefinition, keys: Mapping[str, AssetKey], upstream: set[AssetKey]
) -> dict[str, set[AssetKey]]:
    """The assets before each output: one of the artifacts of an earlier op, or what is upstream.

    One, since Dagster refuses a backfill of the assets of a graph where one of them comes after
    several others ("Targeted subset must match between every key"). Of an earlier op, since outputs
    of one op would have to be given in their order, and all of them.
    """
    before, found = upstream, {}
    nodes = {each.graph_output_name: each.maps_from.node_name for each in graph.output_mappings}
    ops = [nodes[output] for output in keys]
    for _, outputs in groupby(zip(ops, keys, strict=True), key=itemgetter(0)):
        of_op = [output for _op, output in outputs]
        found.update(dict.fromkeys(of_op, before))
        before = {keys[of_op[0]]}
    return found


def asset_keys(paths: Mapping[str, Sequence[str]]) -> dict[str, AssetKey]:
    """Keys of assets, by name."""
    return {name: AssetKey(list(path)) for name, path in paths.items()}
