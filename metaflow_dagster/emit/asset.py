"""The assets of a file: that of the ends of its runs, and the events that it waits for.

TrainFlow_assets = [
    event_spec("orders"),
    AssetSpec(FLOW.end_event, deps=["orders"], kinds={"metaflow"}, ...),
]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    list_of,
    literal,
    name,
    set_of,
)
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.events import asset_path
from metaflow_dagster.ir.flow import Flow, is_end_event

ASSET_GROUP: Final = "metaflow"
ASSET_KIND: Final = "metaflow"


def assets_name(job: str) -> str:
    """The name of the list of assets in the file of a job."""
    return f"{job}_assets"


def asset_list(identifier: str, flow: Flow, scope: ModuleScope) -> Statement:
    """The assets. Those for ends of other flows stand in the files of these."""
    events = dict.fromkeys(event.name for trigger in flow.triggers for event in trigger.events)
    published = [
        call(scope.ref("event_spec"), literal(event)) for event in events if not is_end_event(event)
    ]
    return assign(name(identifier), list_of([*published, _end(flow, events, scope)]))


def _end(flow: Flow, events: Iterable[str], scope: ModuleScope) -> Expression:
    """The asset that is materialized when a run succeeds, downstream of what triggers the flow."""
    deps = list_of(map(_asset_key, events))
    return call(
        scope.ref("AssetSpec"),
        attribute(scope.ref(FLOW), "end_event"),
        keywords={
            "deps": deps if deps.elements else None,
            "description": literal(f"A run of the Metaflow flow {flow.name} has succeeded."),
            "group_name": literal(ASSET_GROUP),
            "kinds": set_of([literal(ASSET_KIND)]),
        },
    )


def _asset_key(event: str) -> Expression:
    path = asset_path(event)
    return literal(path[0]) if len(path) == 1 else list_of(map(literal, path))
