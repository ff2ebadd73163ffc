"""Whose a task is in Metaflow's eyes, and which op of which Dagster run it belongs to."""

import json
import os
from functools import cache, lru_cache

from dagster import OpExecutionContext

from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.identities import identity_path, stored_identity
from metaflow_dagster.runtime.settings import (
    LAUNCH_TAGS_TAG,
    TRIGGERS_TAG,
    FlowSettings,
)
from metaflow_dagster.runtime.store import store_of

INTERNAL_DECORATOR = "dagster_internal"  # of the Metaflow extension in metaflow-dagster


def launch_tags(context: OpExecutionContext) -> list[str]:
    """Options for the tags that a run was launched with; `Failure` if they are not to be read."""
    text = context.run.tags.get(LAUNCH_TAGS_TAG, "[]")
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, list) or not all(isinstance(tag, str) for tag in given):
        raise final_failure(f"The tag {LAUNCH_TAGS_TAG} is no JSON list of texts: {text!r}.")
    return [f"--tag={tag}" for tag in given]


def task_environment(flow: FlowSettings, context: OpExecutionContext) -> dict[str, str]:
    """Variables that tell a process for whom and where it runs."""
    return {
        **not_set(deployed_identity(flow, context.run_id)),
        "METAFLOW_DAGSTER_RUN_ID": context.run_id,
        "METAFLOW_DAGSTER_JOB_NAME": named_job(flow, context),
        "METAFLOW_DAGSTER_OP": str(context.op_handle),
        "METAFLOW_DAGSTER_TRIGGERS": context.run.tags.get(TRIGGERS_TAG, ""),
        **dagster_variables(context),
    }


def named_job(flow: FlowSettings, context: OpExecutionContext) -> str:
    """The job that a run is of; what Dagster materializes assets by has no name of its own."""
    return flow.job_name if context.job_name.startswith("__ASSET_JOB") else context.job_name


def not_set(variables: dict[str, str]) -> dict[str, str]:
    """Those of some variables that this process does not have."""
    return {name: value for name, value in variables.items() if not os.environ.get(name)}


def dagster_variables(context: OpExecutionContext) -> dict[str, str]:
    """The variables that let a step publish events to the Dagster that runs it.

    `dagster dev` without DAGSTER_HOME keeps its history where the environment does not say so.
    """
    is_named = any(os.environ.get(name) for name in ("DAGSTER_HOME", "METAFLOW_DAGSTER_URL"))
    if is_named or not context.instance.is_persistent:
        return {}
    return {"DAGSTER_HOME": context.instance.root_directory}


@lru_cache(maxsize=16)
def deployed_identity(flow: FlowSettings, dagster_run_id: str) -> dict[str, str]:
    """Who has deployed this job by `dagster create`, and the token that gives its runs a namespace.

    Nothing if nobody has, or to another datastore: then runs are those of the user who runs them.
    It is read once a run: a worker of Celery lives on when the job gets a new token.
    Whoever has the token may deploy the job, so it is handed on in the environment only.
    """
    store = store_of(flow)
    try:
        identity = stored_identity(store, flow.job_name)
    except ValueError as error:
        raise final_failure(
            f"{identity_path(flow.job_name)} in {store.root} does not say who deployed this job. "
            "Remove it, and compile the flow anew by `dagster create`."
        ) from error
    if identity is None:
        return {}
    owner, token = identity
    return {"METAFLOW_OWNER": owner, "METAFLOW_PRODUCTION_TOKEN": token}


@cache
def internal_decorators() -> tuple[str, ...]:
    """The decorator that tells Metaflow what Dagster knows of a task, where it is installed."""
    from metaflow.plugins import STEP_DECORATORS

    is_installed = any(decorator.name == INTERNAL_DECORATOR for decorator in STEP_DECORATORS)
    return (INTERNAL_DECORATOR,) if is_installed else ()
