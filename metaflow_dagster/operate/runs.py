"""The vocabulary of runs that targets, progress and commands share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from metaflow_dagster.runtime.settings import FLOW_TAG as FLOW_TAG
from metaflow_dagster.runtime.settings import LAUNCH_TAGS_TAG as LAUNCH_TAGS_TAG
from metaflow_dagster.runtime.settings import METAFLOW_PARTITION_TAG as METAFLOW_PARTITION_TAG
from metaflow_dagster.runtime.settings import ORIGIN_TAG as ORIGIN_TAG
from metaflow_dagster.runtime.settings import RESUME_STEP_TAG as RESUME_STEP_TAG
from metaflow_dagster.runtime.settings import RUN_ID_TAG as RUN_ID_TAG
from metaflow_dagster.runtime.settings import TRIGGERS_TAG as TRIGGERS_TAG
from metaflow_dagster.runtime.tasks import metaflow_run_id

PARTITION_TAG = "dagster/partition"  # of a run: the key of its partition

LAUNCH_TAG = "metaflow/launch"  # a key by which a launch is found if its answer is lost

RUNS_AT_ONCE = 500  # of which a Dagster is asked, where there may be many

EXAMPLE_RUN_ID = "dagster-0123456789ab"

FOREACH_ITEMS = "foreach items"  # in the metadata of the first output of a foreach's op


class Phase(Enum):
    """Where a run is, in the words of Metaflow's Argo commands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


# Dagster's DagsterRunStatus; what is not here has begun and not ended. As in Argo, a run that was
# terminated has failed.
_PHASES: Mapping[str, Phase] = {
    "QUEUED": Phase.PENDING,
    "NOT_STARTED": Phase.PENDING,
    "MANAGED": Phase.PENDING,
    "STARTING": Phase.PENDING,
    "SUCCESS": Phase.SUCCEEDED,
    "FAILURE": Phase.FAILED,
    "CANCELED": Phase.FAILED,
}


@dataclass(frozen=True, slots=True)
class DagsterRun:
    """A run as Dagster records it; `started` and `ended` are seconds since the epoch."""

    id: str
    job_name: str
    status: str
    tags: Mapping[str, str]
    run_config: Mapping[str, object]
    started: float | None = None
    ended: float | None = None

    @property
    def phase(self) -> Phase:
        """Where the run is."""
        return _PHASES.get(self.status, Phase.RUNNING)

    @property
    def metaflow_run_id(self) -> str:
        """The Metaflow run: its start op tags it, until then the id says."""
        return self.tags.get(RUN_ID_TAG) or metaflow_run_id(self.id)

    @property
    def parameters(self) -> Mapping[str, object]:
        """The flow's parameters: only the op of the first step takes any configuration."""
        ops = self.run_config.get("ops")
        for op in ops.values() if isinstance(ops, Mapping) else ():
            if isinstance(op, Mapping) and isinstance(op.get("config"), Mapping):
                return dict(op["config"])
        return {}

    @property
    def settings(self) -> Mapping[str, object]:
        """The rest of the configuration, such as that of the executor."""
        return {part: value for part, value in self.run_config.items() if part != "ops"}


@dataclass(frozen=True, slots=True)
class JobChoice:
    """Which job of a flow is meant.

    `name` is None for the only one of the flow, `definitions_file` where the embedded Dagster finds
    it, `location` tells apart jobs of one name on a server.
    """

    name: str | None
    definitions_file: Path
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A run to be launched.

    `parameters` are the flow's by name, without those left to their defaults, `settings` more of
    Dagster's run configuration, `partition` is the key of the partition that the run is of.
    """

    flow: str
    job: JobChoice
    parameters: Mapping[str, object]
    tags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    partition: str | None = None

    def run_config(self, start_op: str) -> dict[str, object]:
        """Dagster's run configuration; `start_op` is the op of the first step."""
        ops = {"ops": {start_op: {"config": dict(self.parameters)}}} if self.parameters else {}
        return {**self.settings, **ops}


@dataclass(frozen=True, slots=True)
class Launched:
    """A run that was launched: its id in Dagster, and lines that say where to see it."""

    dagster_run_id: str
    job_name: str
    where: Sequence[str]
    url: str | None = None

    @property
    def metaflow_run_id(self) -> str:
        """The Metaflow run that it becomes."""
        return metaflow_run_id(self.dagster_run_id)


class StepChange(Enum):
    """A change of the state of an op's task."""

    STARTED = "started"
    RETRIED = "retried"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepChanged:
    """A Dagster step, which is an op or, as in `op_score[3]`, an op for one item, has changed."""

    key: str
    change: StepChange
    message: str = ""  # why it failed


@dataclass(frozen=True, slots=True)
class ItemsFound:
    """The foreach of a step has a number of items."""

    key: str
    items: int


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run as a whole has failed."""

    message: str


Event = StepChanged | ItemsFound | RunFailed


def chained_reason(errors: Iterable[tuple[str, str]]) -> str:
    """The messages of errors, each the cause of the one before, down to the root.

    `errors` are names of classes with messages. Dagster's own around others say only which op it
    was.
    """
    *outer, root = [*errors] or [("", "")]
    told = [message for name, message in outer if not name.startswith("Dagster")]
    return "\ncaused by ".join(message.strip() for message in (*told, root[1]))
