"""What a flow's asset asks of the ops, where it is a graph of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metaflow_dagster.ir.assets import ArtifactAsset
from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.names import Scope, ascii_name


@dataclass(frozen=True, slots=True)
class GraphForm:
    """The graph-backed form of a job.

    `io_manager` is the resource that keeps outputs, `artifacts` are the assets by the names of the
    outputs that stand for them, of each step that materializes some, and `upstream` the keys of
    assets by the names of the inputs that stand for these.
    """

    graph: str
    io_manager: str
    artifacts: Mapping[str, Mapping[str, ArtifactAsset]]
    upstream: Mapping[str, tuple[str, ...]]

    def outputs_of(self, step: str) -> Mapping[str, ArtifactAsset]:
        """The outputs of a step's op that stand for artifacts."""
        return self.artifacts.get(step, {})


def graph_form(flow: Flow, job: str, upstream: Iterable[tuple[str, ...]]) -> GraphForm:
    """The form for the assets of a flow; `job` names what nothing else in a location may be."""
    outputs, inputs = Scope(), Scope()
    artifacts: dict[str, dict[str, ArtifactAsset]] = {}
    for asset in flow.assets:
        name = outputs.claim(ascii_name(f"artifact_{asset.step}_{asset.artifact}"))
        artifacts.setdefault(asset.materialized_by, {})[name] = asset
    keys = {inputs.claim(ascii_name("after_" + "_".join(key))): key for key in upstream}
    return GraphForm(graph_name(job), f"{job}_io_manager", artifacts, keys)


def graph_name(job: str) -> str:
    """The name of the graph of a job, which may not be the job's own."""
    return f"{job}_steps"
