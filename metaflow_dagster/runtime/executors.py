"""How the ops of a run are executed."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from dagster import (
    Executor,
    ExecutorDefinition,
    InitExecutorContext,
    executor,
    multiprocess_executor,
)

from metaflow_dagster.internals.execution import DagsterOpProcesses
from metaflow_dagster.runtime.execution import (
    executor_options,
    missing_internals,
    retry_mode,
)
from metaflow_dagster.runtime.starting import StartProcess, fresh_processes
from metaflow_dagster.runtime.threads import SECONDS_TO_INTERRUPT, ThreadsExecutor


def threads_executor(
    max_concurrent: int | None = None,
    processes: Callable[[], AbstractContextManager[StartProcess]] = fresh_processes,
    seconds_to_interrupt: float = SECONDS_TO_INTERRUPT,
) -> ExecutorDefinition:
    """Runs ops in threads of the run's process, at most as many at once; default: the CPUs.

    `processes` is entered for each run, and gives what starts the processes of its ops. Where
    Dagster has changed too much for threads, ops run in processes, which start others freshly. When
    the run is interrupted, its ops have `seconds_to_interrupt` to end.
    """
    import dagster

    missing = missing_internals()
    if missing:
        warnings.warn(
            "This Dagster release is not supported by the threads executor "
            f"({missing[0]} changed); using processes. Compile the flow anew with a later "
            "metaflow-dagster.",
            RuntimeWarning,
            stacklevel=2,
        )
        return processes_executor(max_concurrent)
    limit = dagster.Field(
        dagster.Noneable(int),
        is_required=False,
        default_value=max_concurrent,
        description="The number of ops that may run at once. Default: that of the CPUs.",
    )

    @executor(name="threads", config_schema={"max_concurrent": limit, **executor_options()})
    def threads(context: InitExecutorContext) -> Executor:
        config: Any = context.executor_config
        limits = config.get("tag_concurrency_limits") or []
        retries = retry_mode(config["retries"])
        most = config["max_concurrent"]
        return ThreadsExecutor(retries, most, limits, processes, seconds_to_interrupt)

    return threads


def processes_executor(max_concurrent: int | None = None) -> ExecutorDefinition:
    """Runs each op in a process, forked from one that has imported what all of them need."""
    start_method = {"forkserver": {"preload_modules": list(DagsterOpProcesses.modules)}}

    def effective(config: dict[str, Any]) -> dict[str, Any]:
        return {"start_method": start_method, **config}

    schema: Any = multiprocess_executor.config_schema
    forking = multiprocess_executor.configured(effective, config_schema=schema)
    return limited_executor(forking, max_concurrent)


def limited_executor(whole: ExecutorDefinition, max_concurrent: int | None) -> ExecutorDefinition:
    """An executor that runs at most as many ops at once, where a run's configuration is silent."""

    def effective(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "max_concurrent": config.get("max_concurrent") or max_concurrent}

    schema: Any = whole.config_schema
    return whole.configured(effective, config_schema=schema)
