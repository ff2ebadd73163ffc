"""What the compiler replaces: the values of one flow, and what no flow changes."""

import os
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
FLOW_FILE = os.path.join(HERE, "flow.py")
FLOW_NAME = "Flow"
JOB_NAME = "Flow"
END_EVENT = "metaflow.Flow.end"
CODE_PACKAGE: dict[str, str] | None = None  # in the datastore, for machines without FLOW_FILE
METAFLOW_TOP_ARGS: list[str] = []
METAFLOW_STEP_ENV: dict[str, str] = {}
FLOW_WITH_DECORATORS: list[str] = []
STEP_WITH_DECORATORS: dict[str, list[str]] = {}
STEP_COMMANDS: dict[str, list[str]] = {}  # of steps whose decorators change how they are run
STEPS_WITH_CARDS: list[str] = []
STEP_SOURCES: dict[str, list[str]] = {}  # file and class of inherited steps
NEXT_STEPS: dict[str, list[list[str]]] = {}
FLOW_CONFIGS: dict[str, list[Any]] = {}  # by name: the value, and whether it is plain
RUN_TAGS: list[str] = []
NAMESPACE: str | None = None
ORIGIN_RUN_ID: str | None = None  # of the Metaflow run that every run of this file resumes
OPS_ARE_DELIVERED = False  # by a queue, say, which may deliver one again whose worker was lost

RUN_ID_TAG = "metaflow/run_id"
ORIGIN_TAG = "metaflow/origin_run_id"  # the Metaflow run to resume
TRIGGERS_TAG = "metaflow/triggers"  # the events by which a run was started, as JSON
LAUNCH_TAGS_TAG = "metaflow/tags"  # Metaflow tags that a run was launched with, as JSON
RESUME_STEP_TAG = "metaflow/resume_step"  # from which on to run again what has finished
OUTPUTS = "mf.dagster.outputs"  # directory in the datastore that holds what ops pass on
DEPLOYMENTS = "mf.dagster"  # directory in the datastore that holds a blob for each job
