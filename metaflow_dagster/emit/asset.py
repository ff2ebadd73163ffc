"""The asset that is materialized whenever a run has succeeded.

TrainFlow_end = AssetSpec(END_EVENT, deps=["orders"], kinds={"metaflow"}, ...)
"""

from __future__ import annotations

from typing import Final

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    call,
    list_of,
    literal,
    name,
    set_of,
)
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.events import asset_path
from metaflow_dagster.ir.flow import Flow

ASSET_GROUP: Final = "metaflow"
ASSET_KIND: Final = "metaflow"


def end_asset(identifier: str, flow: Flow, scope: ModuleScope) -> Statement:
    """The asset that is materialized when a run succeeds, downstream of what triggers the flow."""
    events = [event.name for trigger in flow.triggers for event in trigger.events]
    spec = call(
        scope.ref("AssetSpec"),
        scope.ref("END_EVENT"),
        keywords={
            "deps": list_of(map(_asset_key, dict.fromkeys(events))) if events else None,
            "description": literal(f"A run of the Metaflow flow {flow.name} has succeeded."),
            "group_name": literal(ASSET_GROUP),
            "kinds": set_of([literal(ASSET_KIND)]),
        },
    )
    return assign(name(identifier), spec)


def _asset_key(event: str) -> Expression:
    path = asset_path(event)
    return literal(path[0]) if len(path) == 1 else list_of(map(literal, path))
