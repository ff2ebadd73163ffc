"""What of Dagster's internals it takes to run ops in threads.

That they are there is checked here, for the other modules that rely on them as well.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from inspect import signature
from io import TextIOBase, TextIOWrapper
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from dagster import DagsterEvent, DagsterEventType

from metaflow_dagster.runtime.reexecution import completed


def wanted_internals() -> dict[str, dict[str, str]]:
    """What is used to execute ops, by module: each with the parameters it is called with."""
    return {
        "dagster._core.events": {
            "DagsterEvent": "event_type_value job_name step_handle node_handle step_kind_value "
            "message",
            "DagsterEvent.capture_logs": "job_context step_keys log_key log_context",
            "DagsterEvent.engine_event": "plan_context message event_specific_data",
            "EngineEventData": "error",
            "EngineEventData.in_process": "pid step_keys_to_execute",
            "EngineEventData.interrupted": "steps_interrupted",
        },
        "dagster._core.execution.api": {
            "ExecuteRunWithPlanIterable": "execution_plan iterator execution_context_manager",
        },
        "dagster._core.execution.context_creation_job": {
            "PlanExecutionContextManager": "job execution_plan run_config dagster_run instance "
            "retry_mode raise_on_error output_capture",
        },
        "dagster._core.execution.context.system": {
            "PlanExecutionContext.for_step": "self step known_state",
        },
        "dagster._core.execution.plan.active": {
            "ActiveExecution": "execution_plan retry_mode tag_concurrency_limits "
            "instance_concurrency_context",
            "ActiveExecution.check_for_interrupts": "self",
            "ActiveExecution.concurrency_event_iterator": "self plan_context",
            "ActiveExecution.get_known_state": "self",
            "ActiveExecution.get_steps_to_execute": "self limit",
            "ActiveExecution.handle_event": "self dagster_event",
            "ActiveExecution.is_complete.fget": "self",
            "ActiveExecution.mark_interrupted": "self",
            "ActiveExecution.plan_events_iterator": "self job_context",
            "ActiveExecution.verify_complete": "self job_context step_key",
        },
        "dagster._core.execution.plan.execute_plan": {
            "_trigger_hook": "step_context step_event_list",
            "dagster_event_sequence_for_step": "step_context",
        },
        "dagster._core.execution.plan.handle": {"StepHandle": "node_handle key"},
        "dagster._core.execution.plan.instance_concurrency_context": {
            "InstanceConcurrencyContext": "instance dagster_run",
        },
        "dagster._core.execution.plan.step": {
            "UnresolvedMappedExecutionStep.resolved_by_step_keys.fget": "self",
        },
        "dagster._core.execution.retries": {
            "RetryMode.from_config": "config_value",
            "get_retries_config": "",
        },
        "dagster._core.execution.tags": {"get_tag_concurrency_limits_config": ""},
    }


def wanted_for_reexecution() -> dict[str, dict[str, str]]:
    """What is used to complete the plan of a re-execution."""
    return {
        "dagster._core.execution.plan.plan": {
            "ExecutionPlan.build_subset_plan": "self step_keys_to_execute job_def "
            "resolved_run_config",
        },
        "dagster._core.execution.plan.state": {
            "KnownExecutionState.build_resume_retry_reexecution": "instance parent_run",
        },
        "dagster._core.system_config.objects": {
            "ResolvedRunConfig.build": "job_def run_config",
        },
    }


def wanted_for_logs() -> dict[str, dict[str, str]]:
    """What is used to keep the logs of ops."""
    return {
        "dagster._core.execution.compute_logs": {"create_compute_log_file_key": ""},
        "dagster._core.storage.cloud_storage_compute_log_manager": {
            "CloudStorageComputeLogManager._on_capture_complete": "self log_key",
            "CloudStorageComputeLogManager._poll_for_local_upload": "self log_key",
            "CloudStorageComputeLogManager.local_manager.fget": "self",
        },
        "dagster._core.storage.compute_log_manager": {
            "CapturedLogContext": "log_key",
            "ComputeIOType": "value",
            "ComputeLogManager.build_log_key_for_run": "self run_id step_key",
            "ComputeLogManager.open_log_stream": "self log_key io_type",
        },
        "dagster._core.storage.local_compute_log_manager": {
            "LocalComputeLogManager.complete_artifact_path": "self log_key",
        },
        "dagster._utils.error": {"serializable_error_info_from_exc_info": "exc_info"},
    }


def missing_internals() -> list[str]:
    """Required Dagster internals that are missing or have another signature."""
    return missing({**wanted_internals(), **wanted_for_reexecution(), **wanted_for_logs()})


def missing(wanted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What of the wanted is missing, or cannot be called with the parameters that are wanted."""
    return [
        f"{module}.{name}"
        for module, parameters in wanted.items()
        for name, words in parameters.items()
        if not is_callable(module, name, words.split())
    ]


def is_callable(module: str, name: str, parameters: Sequence[str]) -> bool:
    """Whether something can be called with these parameters."""
    try:
        signature(attrgetter(name)(import_module(module))).bind(**dict.fromkeys(parameters))
    except (ImportError, AttributeError, TypeError):
        return False
    return True


def executor_options() -> dict[str, Any]:
    """The configuration of an executor, as far as it is the same for all of Dagster's."""
    from dagster._core.execution.retries import get_retries_config
    from dagster._core.execution.tags import get_tag_concurrency_limits_config

    limits = get_tag_concurrency_limits_config()
    return {"retries": get_retries_config(), "tag_concurrency_limits": limits}


def retry_mode(config: Any) -> Any:
    """Whether ops are retried, from the executor's configuration."""
    from dagster._core.execution.retries import RetryMode

    return RetryMode.from_config(config)


def with_resources(
    context: Any, events: Callable[..., Iterator[DagsterEvent]]
) -> Iterator[DagsterEvent]:
    """The events of a run that has its resources in this process.

    Meanwhile a signal does no more than to be noticed. An op that fails ends itself only, as in
    the processes of Dagster's multiprocess executor.
    """
    from dagster._core.execution.api import ExecuteRunWithPlanIterable
    from dagster._core.execution.context_creation_job import PlanExecutionContextManager

    plan, run = completed(context)
    manager = PlanExecutionContextManager(
        job=context.job,
        execution_plan=plan,
        run_config=context.run_config,
        dagster_run=run,
        instance=context.instance,
        retry_mode=context.retry_mode,
        raise_on_error=False,
        output_capture=context.output_capture,
    )
    execution = ExecuteRunWithPlanIterable(
        execution_plan=plan, iterator=events, execution_context_manager=manager
    )
    yield from iter(execution)


@contextmanager
def active_execution(context: Any, tag_limits: list[dict[str, Any]]) -> Iterator[Any]:
    """What knows which op is to be executed when."""
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.instance_concurrency_context import (
        InstanceConcurrencyContext,
    )

    with (
        InstanceConcurrencyContext(context.instance, context.dagster_run) as pools,
        ActiveExecution(
            context.execution_plan,
            retry_mode=context.retry_mode,
            tag_concurrency_limits=tag_limits,
            instance_concurrency_context=pools,
        ) as active,
    ):
        yield active


def step_events(context: Any) -> Iterator[DagsterEvent]:
    """Execute an op, and then its hooks."""
    from dagster._core.execution.plan.execute_plan import (
        _trigger_hook,
        dagster_event_sequence_for_step,
    )

    events = []
    for event in dagster_event_sequence_for_step(context):
        events.append(event)
        yield event
    yield from _trigger_hook(context, events)


def mapped_skips(context: Any, skipped: str) -> Iterator[DagsterEvent]:
    """The skips of the ops that would have run once for each item of an op that is skipped.

    Dagster records none, and when it re-executes the run from a failure it takes some of them for
    ops that are still to run, and refuses (dagster/_core/execution/plan/state.py:
    _derive_state_of_past_run).
    """
    from dagster._core.execution.plan.handle import StepHandle

    for step in context.execution_plan.step_dict.values():
        if step.kind.value == "UNRESOLVED_MAPPED" and skipped in step.resolved_by_step_keys:
            event = DagsterEvent(
                event_type_value=DagsterEventType.STEP_SKIPPED.value,
                job_name=context.job_name,
                step_handle=StepHandle(step.node_handle, step.key),
                node_handle=step.node_handle,
                step_kind_value=step.kind.value,
                message=f"Skipped {step.key}, since {skipped} is skipped.",
            )
            context.log.log_dagster_event(logging.DEBUG, event.message, event)
            yield event


def engine_event(context: Any, message: str, *interrupted: str) -> DagsterEvent:
    """What the executor has to say, of some ops that it interrupts or of itself."""
    from dagster._core.events import EngineEventData

    about = (
        EngineEventData.interrupted(interrupted)
        if interrupted
        else EngineEventData.in_process(os.getpid())
    )
    return DagsterEvent.engine_event(context, message, event_specific_data=about)


@contextmanager
def log_streams(
    context: Any, step_key: str, tell: Callable[[DagsterEvent], None]
) -> Iterator[list[list[TextIO]]]:
    """Where an op writes what Dagster shows as its standard output and error, if it does.

    To capture what goes through the file descriptors, as the other executors do, is no way to tell
    the ops of one process apart.
    """
    from dagster._core.execution.compute_logs import create_compute_log_file_key
    from dagster._core.storage.compute_log_manager import (
        CapturedLogContext,
        ComputeIOType,
    )

    manager = context.instance.compute_log_manager
    log_key = manager.build_log_key_for_run(context.run_id, create_compute_log_file_key())
    streams: list[list[TextIO]] = [[], []]
    stack = ExitStack()
    # Whatever keeps the logs from being written: Dagster's executors go on without them.
    try:
        opener = stack.enter_context(log_opener(manager, log_key))
        given = [stack.enter_context(opener(log_key, one)) for one in ComputeIOType]
        streams = [text_streams(one) for one in given]
        tell(DagsterEvent.capture_logs(context, [step_key], log_key, CapturedLogContext(log_key)))
    except Exception:
        tell(log_trouble(context, step_key))
    try:
        yield streams
    finally:
        try:
            stack.close()
        except Exception:
            tell(log_trouble(context, step_key))


def text_streams(given: Any) -> list[TextIO]:
    """The stream of a log if it is kept at all: Dagster promises bytes, and gives text."""
    if given is None:
        return []
    stream: Any = given if isinstance(given, TextIOBase) else TextIOWrapper(given, "utf-8")
    return [stream]


def log_trouble(context: Any, step_key: str) -> DagsterEvent:
    """That the logs of an op are not to be had, with the error that is being handled."""
    from dagster._core.events import EngineEventData
    from dagster._utils.error import serializable_error_info_from_exc_info

    error = EngineEventData(error=serializable_error_info_from_exc_info(sys.exc_info()))
    return DagsterEvent.engine_event(context, f"The logs of {step_key} are not captured", error)


@contextmanager
def log_opener(manager: Any, log_key: Sequence[str]) -> Iterator[Callable[..., Any]]:
    """What opens a log that is written here; at the end, all under its key are complete."""
    from dagster._core.storage.cloud_storage_compute_log_manager import (
        CloudStorageComputeLogManager,
    )
    from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

    with ExitStack() as stack:
        local = manager
        if isinstance(manager, CloudStorageComputeLogManager):
            stack.callback(manager._on_capture_complete, log_key)
            stack.enter_context(manager._poll_for_local_upload(log_key))
            local = manager.local_manager
        if isinstance(local, LocalComputeLogManager):
            stack.callback(Path(local.complete_artifact_path(log_key)).touch)
        yield local.open_log_stream
