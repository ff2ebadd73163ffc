"""How the ops of a run are executed."""

import gc
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Any

from dagster import (
    Executor,
    ExecutorDefinition,
    InitExecutorContext,
    executor,
    multiple_process_executor_requirements,
    multiprocess_executor,
)

from metaflow_dagster.internals.execution import DagsterOpProcesses
from metaflow_dagster.runtime.command import adopt_settings
from metaflow_dagster.runtime.execution import (
    executor_options,
    missing_internals,
    retry_mode,
)
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.starting import StartProcess, fresh_processes
from metaflow_dagster.runtime.threads import SECONDS_TO_INTERRUPT, ThreadsExecutor

PLUGINS = "metaflow.plugins"  # imports all that ops use of Metaflow


def threads_executor(
    max_concurrent: int | None = None,
    processes: Callable[[], AbstractContextManager[StartProcess]] = fresh_processes,
    seconds_to_interrupt: float = SECONDS_TO_INTERRUPT,
) -> ExecutorDefinition:
    """Runs ops in threads of the run's process, at most as many at once; default: the CPUs.

    `processes` is called when a run begins and entered when its ops do, and gives what starts their
    processes. Where Dagster has changed too much for threads, ops run in processes, which start
    others freshly. When the run is interrupted, its ops have `seconds_to_interrupt` to end.
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
        leave_out_of_collections()
        config: Any = context.executor_config
        limits = config.get("tag_concurrency_limits") or []
        retries = retry_mode(config["retries"])
        most = config["max_concurrent"]
        return ThreadsExecutor(retries, most, limits, processes(), seconds_to_interrupt)

    return threads


@cache
def leave_out_of_collections() -> None:
    """Keep the garbage collector from looking through all of Dagster again, once a process.

    That takes it a tenth of a second, and Dagster does not become garbage.
    """
    gc.freeze()


def processes_executor(
    max_concurrent: int | None = None, flow: FlowSettings | None = None
) -> ExecutorDefinition:
    """Runs each op in a process, forked from one that has imported what all of them need.

    `flow` is whose ops these are, for which Metaflow is imported there as well.
    """
    needs = multiple_process_executor_requirements()
    schema: Any = multiprocess_executor.config_schema

    @executor(name=multiprocess_executor.name, config_schema=schema, requirements=needs)
    def processes(context: InitExecutorContext) -> Executor:
        given: Any = context.executor_config
        create: Any = multiprocess_executor.executor_creation_fn
        if "start_method" not in given:
            modules = [*DagsterOpProcesses.modules, *(modules_of_metaflow(flow) if flow else [])]
            given = {**given, "start_method": {"forkserver": {"preload_modules": modules}}}
        own: Executor = create(context._replace(executor_config=given))
        return own

    return limited_executor(processes, max_concurrent)


def limited_executor(whole: ExecutorDefinition, max_concurrent: int | None) -> ExecutorDefinition:
    """An executor that runs at most as many ops at once, where a run's configuration is silent."""

    def effective(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "max_concurrent": config.get("max_concurrent") or max_concurrent}

    schema: Any = whole.config_schema
    return whole.configured(effective, config_schema=schema)


def modules_of_metaflow(flow: FlowSettings) -> list[str]:
    """What of Metaflow can be imported for all ops of a flow: it reads its settings then.

    Nothing, if this process cannot have those of the flow, or if a fork would lose what Metaflow's
    extensions have started.
    """
    adopt_settings(flow)
    threads = threading.active_count()
    # Whatever keeps it from being imported: each op says so.
    try:
        import_module(PLUGINS)
    except Exception:
        return []
    has_settings = flow.variables.items() <= os.environ.items()
    return [PLUGINS] if has_settings and threading.active_count() == threads else []
