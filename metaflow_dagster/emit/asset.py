"""The assets of a file: that of the ends of its runs, and the events that it waits for.

TrainFlow_assets = [
    event_spec("orders"),
    AssetSpec(FLOW.end_event, deps=["orders"], kinds={"metaflow"}, ...),
]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
    text_dict,
)
from metaflow_dagster.emit.job import flow_tags
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.events import asset_path
from metaflow_dagster.ir.assets import (
    ArtifactAsset,
)
from metaflow_dagster.ir.flow import Flow, Literal, is_end_event
from metaflow_dagster.options import Options

# dagster/_utils/tags.py: VALID_STRICT_TAG_VALUE_REGEX
_TAG_VALUE: Final = re.compile(r"[A-Za-z0-9_.-]{0,63}")

ASSET_GROUP: Final = "metaflow"
ASSET_KIND: Final = "metaflow"
# dagster/_core/definitions/metadata/source_code.py: CodeReferencesMetadataSet
CODE_REFERENCES: Final = "dagster/code_references"


def assets_name(job: str) -> str:
    """The name of the list of assets in the file of a job."""
    return f"{job}_assets"


def asset_list(
    identifier: str, own: Sequence[Expression], flow: Flow, scope: ModuleScope
) -> Statement:
    """The assets: the flow's own, and events. Ends of other flows stand in the files of these."""
    published = [
        call(scope.ref("event_spec"), literal(event))
        for event in _events(flow)
        if not is_end_event(event)
    ]
    return assign(name(identifier), list_of([*published, *own]))


def upstream_keys(flow: Flow, options: Options) -> list[tuple[str, ...]]:
    """The keys of the assets before those of a flow: of what triggers it, and of what is given."""
    return [tuple(asset_path(key)) for key in dict.fromkeys([*_events(flow), *options.upstream])]


def _events(flow: Flow) -> list[str]:
    events = (event.name for trigger in flow.triggers for event in trigger.events)
    return [*dict.fromkeys(events)]


def external_assets(
    flow: Flow, options: Options, common: Mapping[str, Expression], scope: ModuleScope
) -> list[Expression]:
    """The assets of a flow that its runs materialize, artifacts first."""
    deps = [*map(_key, upstream_keys(flow, options))]
    artifacts = [_artifact(each, flow, deps, common, scope) for each in flow.assets]
    own_deps = [*deps, *(_key(each.key) for each in flow.assets)]
    return [*artifacts, _end(own_deps, common, scope)]


def common_keywords(
    flow: Flow, options: Options, partitions: str | None, scope: ModuleScope
) -> Iterator[tuple[str, Expression]]:
    """What all assets of a flow are said to be.

    `partitions` is the variable that holds the partitions of the runs, if they have some.
    """
    yield "group_name", literal(ASSET_GROUP)
    if options.owners:
        yield "owners", literal(list(options.owners))
    if tags := asset_tags(flow):
        yield "tags", literal(tags)
    yield "kinds", set_of([literal(ASSET_KIND)])
    if partitions:
        yield "partitions_def", name(partitions)


def asset_tags(flow: Flow) -> dict[str, Literal]:
    """The tags of the flow, as far as Dagster takes their values for an asset's."""
    return {key: value for key, value in flow_tags(flow).items() if _TAG_VALUE.fullmatch(value)}


def _artifact(
    asset: ArtifactAsset,
    flow: Flow,
    deps: Sequence[Expression],
    common: Mapping[str, Expression],
    scope: ModuleScope,
) -> Expression:
    """The asset that an artifact is."""
    said = f"The artifact {asset.artifact} of step {asset.step} of the Metaflow flow {flow.name}."
    return call(
        scope.ref("AssetSpec"),
        _key(asset.key),
        keywords={
            "deps": list_of(each.deep_clone() for each in deps) if deps else None,
            "description": literal(said),
            **{name: value.deep_clone() for name, value in common.items()},
        },
    )


def _end(
    deps: Sequence[Expression],
    common: Mapping[str, Expression],
    scope: ModuleScope,
) -> Expression:
    """The asset that is materialized when a run succeeds, downstream of what triggers the flow.

    It is the same in the files of all jobs of a flow, which may be in one code location.
    """
    code = call(scope.ref("code_references"), scope.ref(FLOW))
    return call(
        scope.ref("AssetSpec"),
        attribute(scope.ref(FLOW), "end_event"),
        keywords={
            "deps": list_of(deps) if deps else None,
            "description": call(scope.ref("flow_description"), scope.ref(FLOW)),
            "metadata": text_dict({CODE_REFERENCES: code}),
            **common,
        },
    )


def _key(path: Sequence[str]) -> Expression:
    return literal(path[0]) if len(path) == 1 else list_of(map(literal, path))
