"""The settings of a flow in its generated file, and names that leave the process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

FLOW_TAG = "metaflow/flow"  # a tag of the job, and of its runs
RUN_ID_TAG = "metaflow/run_id"
ORIGIN_TAG = "metaflow/origin_run_id"  # the Metaflow run to resume
TRIGGERS_TAG = "metaflow/triggers"  # the events by which a run was started, as JSON
LAUNCH_TAGS_TAG = "metaflow/tags"  # Metaflow tags that a run was launched with, as JSON
METAFLOW_PARTITION_TAG = "partition"  # before the colon, in the tags of Metaflow's runs
RESUME_STEP_TAG = "metaflow/resume_step"  # from which on to run again what has finished
FRESH_PYTHON = "METAFLOW_DAGSTER_FRESH_PYTHON"  # set where a step is not to be forked
OUTPUTS = "mf.dagster.outputs"  # directory in the datastore that holds what ops pass on
DEPLOYMENTS = "mf.dagster"  # directory in the datastore that holds a blob for each job


class PackagedCode(Protocol):
    """The flow's code in the datastore, for machines that do not have its file."""

    def directory(self, flow: "FlowSettings") -> str:
        """Where the code is, or will be, on this machine."""

    def provide(self, flow: "FlowSettings") -> None:
        """Take the code out of the datastore, unless it is on this machine already."""

    def search_path(self, flow: "FlowSettings", python_path: str | None) -> Mapping[str, str]:
        """Environment by which a process finds modules of the package."""

    def task_variables(self, flow: "FlowSettings") -> Mapping[str, str]:
        """Environment by which Metaflow records the code package of a task."""


class StepCards(Protocol):
    """The steps that have cards."""

    def links(self, flow: "FlowSettings", task: Any) -> Mapping[str, Any]:
        """The metadata by which Dagster shows the cards of a task."""


class ConfigValues(Protocol):
    """The flow's Configs."""

    def environment(self, directory: str) -> Mapping[str, str]:
        """Environment that gives the Configs to a process, with a file in a directory."""


class RunPartitions(Protocol):
    """The parameters that the partition of a run gives values to."""

    def values(self, context: Any) -> Mapping[str, str]:
        """The values of the parameters in a run."""

    def tags(self, context: Any) -> Sequence[str]:
        """Options by which Metaflow tags the run with its partition."""


@dataclass(frozen=True, eq=False)
class FlowSettings:
    """The facts of a flow that its generated file holds, and hands to the helpers.

    Attributes
    ----------
    name : name of the flow
    file : path of the flow's file where it was compiled
    here : directory of the generated file
    end_event : name of the event that the end of a run publishes
    next_steps : by step, all ways in which it may go on; each is a list of steps
    description : what the flow says of itself
    job : name of the Dagster job; default: that of the flow
    metadata, environment, datastore, event_logger, monitor : types of Metaflow's backend
    datastore_root : where the datastore is, unless Metaflow's own settings say so
    top_options : further options that stand before Metaflow's command
    variables : Metaflow's settings, as environment variables
    run_tags, namespace : Metaflow's tags of every run, and the namespace of its steps
    origin_run_id : the Metaflow run that every run of this file resumes
    flow_decorators : step decorators that were added to all steps, as `--with` takes them
    step_decorators : by step, decorators that the source of the flow does not hold
    hooked_steps : steps whose decorators change how they are run
    inherited_steps : file and class of the steps that another class than the flow's defines
    is_delivered : whether ops come by a queue, which may deliver one twice if its worker is lost
    code, cards, configs : the flow's code package, steps with cards, and Configs, if it has some
    partitions : the parameters that are keys of partitions, if its runs have some
    """

    name: str
    file: str
    here: str
    end_event: str
    next_steps: Mapping[str, Sequence[Sequence[str]]]
    description: str = ""
    job: str | None = None
    metadata: str = "local"
    environment: str = "local"
    datastore: str = "local"
    datastore_root: str | None = None
    event_logger: str = "nullSidecarLogger"
    monitor: str = "nullSidecarMonitor"
    top_options: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    run_tags: Sequence[str] = ()
    namespace: str | None = None
    origin_run_id: str | None = None
    flow_decorators: Sequence[str] = ()
    step_decorators: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hooked_steps: Sequence[str] = ()
    inherited_steps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_delivered: bool = False
    code: PackagedCode | None = None
    cards: StepCards | None = None
    configs: ConfigValues | None = None
    partitions: RunPartitions | None = None

    @property
    def job_name(self) -> str:
        """The name of the Dagster job."""
        return self.job or self.name
