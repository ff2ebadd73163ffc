"""The executor that runs the ops of a run in threads of the run's process.

An op does little itself, it looks after a process of Metaflow. In a process of its own, as
Dagster's multiprocess executor would have it, it takes the start of another Python with Dagster.
"""

import atexit
import gc
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from dagster import DagsterEvent, DagsterExecutionInterruptedError, Executor

from metaflow_dagster.internals.execution import DagsterExecution
from metaflow_dagster.runtime.execution import (
    active_execution,
    engine_event,
    log_streams,
    mapped_skips,
    step_events,
    with_resources,
)
from metaflow_dagster.runtime.guard import only_guard
from metaflow_dagster.runtime.op_threads import (
    Interruption,
    OpThread,
    current_op_thread,
    in_op_thread,
)
from metaflow_dagster.runtime.open_files import affordable_ops
from metaflow_dagster.runtime.run_log import kept_open
from metaflow_dagster.runtime.starting import StartProcess

SECONDS_BETWEEN_LOOKS = 0.1  # for interruptions, retries that are due and free slots of pools
STEPS_AHEAD = 50  # that Dagster is asked for beyond those that can start, where nothing limits them
SECONDS_TO_INTERRUPT = 10.0  # in which ops have to end; more than their processes are given


@dataclass(frozen=True)
class Ended:
    """The thread of an op is over, by an error if it was not the op that has failed."""

    step_key: str
    error: BaseException | None


class ThreadsExecutor(Executor):
    """Runs ops in threads."""

    def __init__(
        self,
        retries: Any,
        max_concurrent: int | None,
        tag_limits: list[dict[str, Any]],
        processes: AbstractContextManager[StartProcess],
        seconds_to_interrupt: float = SECONDS_TO_INTERRUPT,
    ) -> None:
        self.retry_mode = retries
        self.max_concurrent = max_concurrent or os.cpu_count() or 1
        self.tag_limits = tag_limits
        self.processes = processes
        self.seconds_to_interrupt = seconds_to_interrupt

    @property
    def retries(self) -> Any:
        """Whether ops are retried."""
        return self.retry_mode

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        """Execute the ops of a run and give the events that come of it."""
        process = f"threads of one process (pid: {os.getpid()})"
        # Skip the final garbage collection: the process is about to exit.
        atexit.register(gc.freeze)
        with kept_open(plan_context):
            yield engine_event(plan_context, f"Executing ops in {process}")
            yield from with_resources(plan_context, self.events)
            yield engine_event(plan_context, f"Finished ops in {process}")

    def events(self, job_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        """Execute the ops, the run having its resources."""
        with (
            active_execution(job_context, self.tag_limits) as active,
            only_guard().lasting(),
            self.processes as start_process,
        ):
            limit = affordable_ops(job_context, self.max_concurrent)
            ahead = 0 if self.tag_limits or has_pools(execution_plan) else STEPS_AHEAD
            seconds = self.seconds_to_interrupt
            ops = RunningOps(job_context, active, limit, ahead, seconds, start_process)
            yield from ops.events()


def has_pools(plan: Any) -> bool:
    """Whether ops of a plan wait for slots, which they take when Dagster is asked for them."""
    return any(getattr(step, "pool", None) for step in plan.step_dict.values())


class RunningOps:
    """The ops of one run that are in threads now.

    Which op is ready and what its end means, Dagster knows; all that touches its state is done in
    the thread of the run, to which those of the ops hand on their events.
    """

    def __init__(
        self,
        context: Any,
        active: Any,
        max_concurrent: int,
        ahead: int,
        seconds_to_interrupt: float,
        start_process: StartProcess,
    ) -> None:
        self.context = context
        self.active = active
        self.max_concurrent = max_concurrent
        self.ahead = ahead
        self.seconds_to_interrupt = seconds_to_interrupt
        self.start_process = start_process
        self.threads: dict[str, threading.Thread] = {}
        self.finishing: set[str] = set()  # those whose processes have ended
        self.next_look = 0.0
        self.ready: deque[Any] = deque()  # what Dagster has handed out, and is not started yet
        self.may_skip = True
        self.news: SimpleQueue[DagsterEvent | Ended] = SimpleQueue()
        self.to_retry: dict[str, DagsterEvent] = {}
        self.interruption = Interruption()
        self.deadline = float("inf")  # of what has been interrupted
        self.errors: list[BaseException] = []

    def events(self) -> Iterator[DagsterEvent]:
        """Run ops until there are no more, or until the run is interrupted."""
        try:
            while self.goes_on():
                if DagsterExecution.check_for_interrupts(self.active):
                    yield from self.interrupt()
                yield from self.start_ready()
                yield from self.follow()
        finally:
            self.end()
        if self.deadline < float("inf"):
            yield engine_event(self.context, "Interrupted all ops")
            raise DagsterExecutionInterruptedError
        if self.errors:
            raise self.errors[0]

    def goes_on(self) -> bool:
        """Whether there is anything to do or to wait for."""
        if self.interruption.happened:
            return bool(self.threads) and time.monotonic() < self.deadline
        return bool(self.threads) or not DagsterExecution.is_complete(self.active)

    def interrupt(self) -> Iterator[DagsterEvent]:
        """Let the ops end and start no others."""
        message = "Received a signal to end the run, and interrupt its ops"
        yield engine_event(self.context, message, *self.threads)
        DagsterExecution.mark_interrupted(self.active)
        self.deadline = min(self.deadline, time.monotonic() + self.seconds_to_interrupt)
        self.interruption.happen()

    def end(self) -> None:
        """Leave nothing running, if Dagster gives up the run by an error of its own."""
        self.interruption.happen()
        deadline = min(self.deadline, time.monotonic() + self.seconds_to_interrupt)
        for thread in self.threads.values():
            thread.join(max(0, deadline - time.monotonic()))

    def start_ready(self) -> Iterator[DagsterEvent]:
        """Start as many ops as may run."""
        free = self.max_concurrent + len(self.finishing) - len(self.threads)
        if self.interruption.happened or free <= 0:
            return
        if len(self.ready) < free:
            yield from self.look_for(free)
        for step in [self.ready.popleft() for _ in range(min(free, len(self.ready)))]:
            state = DagsterExecution.known_state(self.active)
            context = DagsterExecution.for_step(self.context, step, state)
            # If an op cannot be interrupted, at least it does not keep the process from its end.
            thread = threading.Thread(target=self.run, args=[context], name=step.key, daemon=True)
            self.threads[step.key] = thread
            thread.start()

    def look_for(self, free: int) -> Iterator[DagsterEvent]:
        """Ask Dagster for ops that may run."""
        # It looks at all ops each time, so not for every event of one, nor for each that starts.
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        number = free + self.ahead - len(self.ready)
        self.ready.extend(DagsterExecution.steps_to_execute(self.active, number))
        yield from DagsterExecution.concurrency_events(self.active, self.context)

    def run(self, context: Any) -> None:
        """Execute an op, in a thread of its own."""
        error = None
        try:
            with log_streams(self.context, context.step.key, self.news.put) as (stdout, stderr):
                own = current_op_thread()
                streams = [*own.stdout, *stdout], [*own.stderr, *stderr]
                with in_op_thread(OpThread(self.interruption, *streams, self.start_process)):
                    for event in step_events(context):
                        self.news.put(event)
        # Whatever it is that is not the op's own failure: as in a process of Dagster's
        # multiprocess executor, somebody has to be told, or the run would wait forever.
        except (Exception, KeyboardInterrupt, DagsterExecutionInterruptedError) as caught:
            error = caught
        self.news.put(Ended(context.step.key, error))

    def follow(self) -> Iterator[DagsterEvent]:
        """Take in what has happened, and skip the ops that this leaves without an input."""
        for event in self.latest():
            if isinstance(event, Ended):
                self.finish(event)
                continue
            yield event
            if event.is_step_up_for_retry:
                self.to_retry[str(event.step_key)] = event
                continue
            DagsterExecution.handle_event(self.active, event)
            self.may_skip = self.may_skip or event.is_step_success or event.is_step_failure
            if event.is_successful_output:
                self.leave_place(str(event.step_key))
        if self.may_skip and len(self.threads) < self.max_concurrent:
            yield from self.skip()

    def skip(self) -> Iterator[DagsterEvent]:
        """Skip the ops without an input, and those that would have run once an item of theirs."""
        self.may_skip = False
        for event in DagsterExecution.plan_events(self.active, self.context):
            yield event
            if event.is_step_skipped:
                yield from mapped_skips(self.context, str(event.step_key))

    def leave_place(self, step_key: str) -> None:
        """Let another op start while this one, whose processes have ended, tells what came out."""
        self.finishing.add(step_key)
        self.next_look = 0.0

    def finish(self, ended: Ended) -> None:
        """Take in the end of a thread, before which its op must not be started anew."""
        del self.threads[ended.step_key]
        self.finishing.discard(ended.step_key)
        self.next_look = 0.0
        self.may_skip = True
        if retry := self.to_retry.pop(ended.step_key, None):
            DagsterExecution.handle_event(self.active, retry)
        if ended.error:
            self.errors.append(ended.error)
        DagsterExecution.verify_complete(self.active, self.context, ended.step_key)

    def latest(self) -> Iterator[DagsterEvent | Ended]:
        """Events from the op threads; waits up to SECONDS_BETWEEN_LOOKS for the first."""
        may_come = self.threads or not DagsterExecution.is_complete(self.active)
        seconds = SECONDS_BETWEEN_LOOKS if may_come else 0
        try:
            yield self.news.get(timeout=seconds)
            while True:
                yield self.news.get_nowait()
        except Empty:
            return
