"""Dagster's execution of a run, as far as an executor of our own takes part in it."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from io import TextIOBase, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from dagster import DagsterEvent, DagsterEventType

from metaflow_dagster.internals.execution import (
    DagsterErrors,
    DagsterEvents,
    DagsterExecution,
    DagsterOpLogs,
    DagsterReexecution,
)
from metaflow_dagster.internals.lookup import lacking_names
from metaflow_dagster.runtime.reexecution import completed


def missing_internals() -> list[str]:
    """The names that it takes to run ops in threads, and that this Dagster does not have."""
    of_ops = (DagsterExecution, DagsterEvents, DagsterOpLogs, DagsterErrors)
    return lacking_names(*of_ops, DagsterReexecution)


def executor_options() -> dict[str, Any]:
    """The configuration of an executor, as far as it is the same for all of Dagster's."""
    return {
        "retries": DagsterExecution.retries_option(),
        "tag_concurrency_limits": DagsterExecution.limits_option(),
    }


def retry_mode(config: Any) -> Any:
    """Whether ops are retried, from the executor's configuration."""
    return DagsterExecution.retry_kind(config)


def with_resources(
    context: Any, events: Callable[..., Iterator[DagsterEvent]]
) -> Iterator[DagsterEvent]:
    """The events of a run that has its resources in this process.

    Meanwhile a signal does no more than to be noticed. An op that fails ends itself only, as in
    the processes of Dagster's multiprocess executor.
    """
    plan, run = completed(context)
    is_raised = False  # what an op raises
    manager = DagsterExecution.context_manager(
        context.job,
        plan,
        context.run_config,
        run,
        context.instance,
        context.retry_mode,
        is_raised,
        context.output_capture,
    )
    yield from iter(DagsterExecution.run_iterable(plan, events, manager))


@contextmanager
def active_execution(context: Any, tag_limits: list[dict[str, Any]]) -> Iterator[Any]:
    """Dagster's knowledge of which op is to be executed when."""
    plan, retries = context.execution_plan, context.retry_mode
    with (
        DagsterExecution.pools(context.instance, context.dagster_run) as pools,
        DagsterExecution.active(plan, retries, tag_limits, pools) as active,
    ):
        yield active


def step_events(context: Any) -> Iterator[DagsterEvent]:
    """Execute an op, and then its hooks."""
    events = []
    for event in DagsterExecution.op_events(context):
        events.append(event)
        yield event
    yield from DagsterExecution.hook_events(context, events)


def mapped_skips(context: Any, skipped: str) -> Iterator[DagsterEvent]:
    """The skips of the ops that would have run once for each item of an op that is skipped.

    Dagster records none, and when it re-executes the run from a failure it takes some of them for
    ops that are still to run, and refuses (dagster/_core/execution/plan/state.py:
    _derive_state_of_past_run).
    """
    for step in context.execution_plan.step_dict.values():
        kind = step.kind.value
        if kind == "UNRESOLVED_MAPPED" and skipped in DagsterExecution.resolved_by(step):
            event = DagsterEvents.of_op(
                DagsterEventType.STEP_SKIPPED.value,
                context.job_name,
                DagsterExecution.step_handle(step.node_handle, step.key),
                step.node_handle,
                kind,
                f"Skipped {step.key}, since {skipped} is skipped.",
            )
            context.log.log_dagster_event(logging.DEBUG, event.message, event)
            yield event


def engine_event(context: Any, message: str, *interrupted: str) -> DagsterEvent:
    """An event by the executor, about some ops that it interrupts or about itself."""
    about = (
        DagsterEvents.interrupted(interrupted)
        if interrupted
        else DagsterEvents.in_process(os.getpid())
    )
    event: DagsterEvent = DagsterEvents.of_engine(context, message, about)
    return event


@contextmanager
def log_streams(
    context: Any, step_key: str, tell: Callable[[DagsterEvent], None]
) -> Iterator[list[list[TextIO]]]:
    """Where an op writes what Dagster shows as its standard output and error, if it does.

    To capture what goes through the file descriptors, as the other executors do, is no way to tell
    the ops of one process apart.
    """
    manager = context.instance.compute_log_manager
    log_key = DagsterOpLogs.key_of_run(manager, context.run_id, DagsterOpLogs.file_key())
    streams: list[list[TextIO]] = [[], []]
    stack = ExitStack()
    # Whatever keeps the logs from being written: Dagster's executors go on without them.
    try:
        opener = stack.enter_context(log_opener(manager, log_key))
        opened = [
            stack.enter_context(opener(log_key, kind)) for kind in DagsterOpLogs.streams.get()
        ]
        streams = [text_streams(stream) for stream in opened]
        captured = DagsterOpLogs.captured(log_key)
        tell(DagsterEvents.capture_logs(context, [step_key], log_key, captured))
    except Exception:
        tell(log_trouble(context, step_key))
    try:
        yield streams
    finally:
        try:
            stack.close()
        except Exception:
            tell(log_trouble(context, step_key))


def text_streams(stream_of_log: Any) -> list[TextIO]:
    """The stream of a log if it is kept at all: Dagster promises bytes, and gives text."""
    if stream_of_log is None:
        return []
    stream: Any = (
        stream_of_log
        if isinstance(stream_of_log, TextIOBase)
        else TextIOWrapper(stream_of_log, "utf-8")
    )
    return [stream]


def log_trouble(context: Any, step_key: str) -> DagsterEvent:
    """That the logs of an op are not to be had, with the error that is being handled."""
    about = DagsterEvents.failing(DagsterErrors.being_handled(sys.exc_info()))
    message = f"The logs of {step_key} are not captured"
    event: DagsterEvent = DagsterEvents.of_engine(context, message, about)
    return event


@contextmanager
def log_opener(manager: Any, log_key: Sequence[str]) -> Iterator[Callable[..., Any]]:
    """A function to open a log that is written here; at the end, all under its key are complete."""
    with ExitStack() as stack:
        local = manager
        if isinstance(manager, DagsterOpLogs.in_cloud.get()):
            stack.callback(DagsterOpLogs.upload, manager, log_key)
            stack.enter_context(DagsterOpLogs.upload_meanwhile(manager, log_key))
            local = DagsterOpLogs.local_manager(manager)
        if isinstance(local, DagsterOpLogs.local.get()):
            stack.callback(Path(DagsterOpLogs.completion_file(local, log_key)).touch)
        yield partial(DagsterOpLogs.open_stream, local)
