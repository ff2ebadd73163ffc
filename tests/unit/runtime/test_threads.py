"""Jobs whose ops run in threads, on a Dagster instance with everything it has by default."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DynamicOut,
    DynamicOutput,
    Failure,
    HookContext,
    In,
    JobDefinition,
    JobExecutionResult,
    OpExecutionContext,
    Out,
    Output,
    ReexecutionOptions,
    RetryPolicy,
    execute_job,
    failure_hook,
    job,
    op,
    reconstructable,
    success_hook,
)

from metaflow_dagster.runtime.executors import threads_executor
from metaflow_dagster.runtime.threads import STEPS_AHEAD

ITEMS = 4


class Overlap:
    """How many ops are in the midst of it at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        with self.lock:
            self.now[kind] = self.now.get(kind, 0) + 1
            self.most[kind] = max(self.most.get(kind, 0), self.now[kind])
        time.sleep(0.2)
        yield
        with self.lock:
            self.now[kind] -= 1


OVERLAP = Overlap()
SEEN: list[str] = []
BREAKS: set[str] = set()


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Nothing has been seen before a test."""
    OVERLAP.__init__()  # type: ignore[misc]
    SEEN.clear()
    BREAKS.clear()


@contextmanager
def executed(
    instance: DagsterInstance,
    make: Callable[[], JobDefinition],
    config: Mapping[str, Any] | None = None,
    after: str | None = None,
) -> Iterator[JobExecutionResult]:
    """Run a job, whose executor `config` is for, from the failure of another run if given."""
    options = ReexecutionOptions.from_failure(after, instance) if after else None
    with execute_job(
        reconstructable(make),
        instance,
        run_config={"execution": {"config": dict(config or {})}},
        reexecution_options=options,
        raise_on_error=False,
    ) as result:
        yield result


def keys(result: JobExecutionResult, kind: DagsterEventType) -> list[str]:
    """The ops that had an event of a kind, in that order."""
    return [str(event.step_key) for event in result.all_events if event.event_type == kind]


@op(out=DynamicOut(int))
def items() -> Iterator[DynamicOutput[int]]:
    for index in range(ITEMS):
        yield DynamicOutput(index, mapping_key=str(index))


@op(tags={"size": "big"})
def square(context: OpExecutionContext, item: int) -> int:
    with OVERLAP.of("square"):
        if str(item) in BREAKS:
            raise Failure("broken")
        SEEN.append(f"{threading.current_thread().name} of {os.getpid()}")
        return item**2


@op
def total(squares: list[int]) -> int:
    SEEN.append(f"total {sum(squares)}")
    return sum(squares)


def mapped() -> JobDefinition:
    @job(executor_def=threads_executor(3))
    def mapped_job() -> None:
        total(items().map(square).collect())

    return mapped_job


def test_mapped_ops_run_in_threads_of_this_process(instance: DagsterInstance) -> None:
    with executed(instance, mapped) as result:
        assert result.success
        assert result.output_for_node("total") == 14
    assert sorted(SEEN) == [
        *(f"square[{index}] of {os.getpid()}" for index in range(ITEMS)),
        "total 14",
    ]
    assert OVERLAP.most == {"square": 3}


@pytest.mark.parametrize(
    ("config", "most"),
    [
        pytest.param({"max_concurrent": 2}, 2, id="number of ops"),
        pytest.param({"max_concurrent": 1}, 1, id="one after the other"),
        pytest.param(
            {"tag_concurrency_limits": [{"key": "size", "value": "big", "limit": 2}]},
            2,
            id="tag",
        ),
    ],
)
def test_limits(instance: DagsterInstance, config: Mapping[str, Any], most: int) -> None:
    with executed(instance, mapped, config) as result:
        assert result.success
    assert OVERLAP.most == {"square": most}


@op(pool="gpu")
def pooled() -> None:
    with OVERLAP.of("pooled"):
        pass


@op
def free() -> None:
    with OVERLAP.of("free"):
        pass


def with_pool() -> JobDefinition:
    @job(executor_def=threads_executor(4))
    def pooled_job() -> None:
        for index in range(2):
            pooled.alias(f"pooled_{index}")()
            free.alias(f"free_{index}")()

    return pooled_job


@pytest.mark.slow
def test_pool(instance: DagsterInstance) -> None:
    with executed(instance, with_pool) as result:
        assert result.success
    assert OVERLAP.most == {"pooled": 1, "free": 2}


@pytest.mark.slow
def test_failure_lets_the_others_finish_and_reexecution_goes_on_from_it(
    instance: DagsterInstance,
) -> None:
    BREAKS.add("0")
    with executed(instance, mapped) as first:
        assert not first.success
        assert keys(first, DagsterEventType.STEP_FAILURE) == ["square[0]"]
        done = keys(first, DagsterEventType.STEP_SUCCESS)
    assert set(done) == {"items", *(f"square[{index}]" for index in range(1, ITEMS))}
    BREAKS.clear()
    with executed(instance, mapped, after=first.run_id) as again:
        assert again.success
        assert keys(again, DagsterEventType.STEP_START) == ["square[0]", "total"]
    assert SEEN[-1] == "total 14"


@op(out=DynamicOut(int))
def many_items() -> Iterator[DynamicOutput[int]]:
    for index in range(3 * STEPS_AHEAD):
        yield DynamicOutput(index, mapping_key=str(index))


@op
def look_up(item: int) -> int:
    SEEN.append(str(item))
    if str(item) in BREAKS:
        raise Failure("broken")
    return item


def of_many_items() -> JobDefinition:
    @job(executor_def=threads_executor(2))
    def job_of_many_items() -> None:
        total(many_items().map(look_up).collect())

    return job_of_many_items


@pytest.mark.slow
def test_more_ops_than_dagster_is_asked_for_at_once(instance: DagsterInstance) -> None:
    everything = [str(index) for index in range(3 * STEPS_AHEAD)]
    BREAKS.add("1")
    with executed(instance, of_many_items) as first:
        assert keys(first, DagsterEventType.STEP_FAILURE) == ["look_up[1]"]
    assert sorted(SEEN) == sorted(everything)
    assert SEEN.index("0") < STEPS_AHEAD < SEEN.index(everything[-1])
    BREAKS.clear()
    with executed(instance, of_many_items, after=first.run_id) as again:
        assert again.success
    assert SEEN[-2:] == ["1", f"total {sum(map(int, everything))}"]


@op(retry_policy=RetryPolicy(max_retries=2, delay=0.5))
def flaky(context: OpExecutionContext) -> int:
    SEEN.append(f"attempt {context.retry_number}")
    if context.retry_number < 2:
        raise Failure("once more")
    return context.retry_number


@op(retry_policy=RetryPolicy(max_retries=2))
def hopeless() -> None:
    SEEN.append("hopeless")
    raise Failure("no retry is of use", allow_retries=False)


def retried() -> JobDefinition:
    @job(executor_def=threads_executor())
    def retried_job() -> None:
        total.alias("after")([flaky()])
        hopeless()

    return retried_job


@pytest.mark.slow
def test_retries_with_delay(instance: DagsterInstance) -> None:
    with executed(instance, retried) as result:
        assert keys(result, DagsterEventType.STEP_UP_FOR_RETRY) == ["flaky", "flaky"]
        assert keys(result, DagsterEventType.STEP_FAILURE) == ["hopeless"]
        assert result.output_for_node("after") == 2
        times = [
            record.timestamp
            for record in instance.all_logs(result.run_id)
            if record.step_key == "flaky"
            and record.dagster_event_type
            in (DagsterEventType.STEP_UP_FOR_RETRY, DagsterEventType.STEP_RESTARTED)
        ]
    assert SEEN.count("hopeless") == 1
    assert [each for each in SEEN if "attempt" in each] == ["attempt 0", "attempt 1", "attempt 2"]
    assert all(
        later - earlier >= 0.5 for earlier, later in zip(times[::2], times[1::2], strict=True)
    )


def test_retries_can_be_turned_off(instance: DagsterInstance) -> None:
    with executed(instance, retried, {"retries": {"disabled": {}}}) as result:
        assert sorted(keys(result, DagsterEventType.STEP_FAILURE)) == ["flaky", "hopeless"]
    assert SEEN.count("attempt 0") == 1


@op(out={"left": Out(is_required=False), "right": Out(is_required=False)})
def choose() -> Iterator[Output[int]]:
    yield Output(1, "left")


@op
def follow(context: OpExecutionContext, value: int) -> int:
    SEEN.append(context.op_handle.name)
    return value


@op(ins={"values": In(list)})
def merge(values: list[int]) -> int:
    return sum(values)


def skipping() -> JobDefinition:
    @job(executor_def=threads_executor())
    def skipping_job() -> None:
        left, right = choose()
        taken = follow.alias("taken")(left)
        left_out = follow.alias("later")(follow.alias("left_out")(right))
        merge([taken, left_out])

    return skipping_job


def test_skipped_ops(instance: DagsterInstance) -> None:
    with executed(instance, skipping) as result:
        assert result.success
        assert keys(result, DagsterEventType.STEP_SKIPPED) == ["left_out", "later"]
        assert result.output_for_node("merge") == 1
    assert SEEN == ["taken"]


@op(out={"few": Out(is_required=False), "many": Out(is_required=False)})
def sort_out(item: int) -> Iterator[Output[int]]:
    if "sort_out" in BREAKS and item == ITEMS - 1:
        raise Failure("not sorted")
    yield Output(item, "many" if item == ITEMS - 1 else "few")


@op
def handle(context: OpExecutionContext, item: int) -> int:
    if context.get_step_execution_context().step.key in BREAKS:
        raise Failure("not handled")
    return item


@op
def gather(few: list[int], many: list[int]) -> None:
    SEEN.append(f"few {sorted(few)}, many {sorted(many)}")


def choosing() -> JobDefinition:
    @job(executor_def=threads_executor())
    def choosing_job() -> None:
        few, many = items().map(sort_out)
        later = many.map(handle.alias("soon")).map(handle.alias("many"))
        gather(few.map(handle.alias("few")).collect(), later.collect())

    return choosing_job


@pytest.mark.slow
def test_choice_that_only_the_failed_item_makes(instance: DagsterInstance) -> None:
    BREAKS.add("sort_out")
    with executed(instance, choosing) as first:
        assert keys(first, DagsterEventType.STEP_FAILURE) == ["sort_out[3]"]
    BREAKS.clear()
    BREAKS.add("many[3]")
    with executed(instance, choosing, after=first.run_id) as second:
        started = keys(second, DagsterEventType.STEP_START)
        assert started == ["sort_out[3]", "soon[3]", "many[3]"]
    BREAKS.clear()
    with executed(instance, choosing, after=second.run_id) as third:
        assert third.success
        assert keys(third, DagsterEventType.STEP_START) == ["many[3]", "gather"]
    assert SEEN == ["few [0, 1, 2], many [3]"]


@success_hook
def cheer(context: HookContext) -> None:
    SEEN.append(f"{context.op.name} has succeeded")


@failure_hook
def weep(context: HookContext) -> None:
    SEEN.append(f"{context.op.name} has failed")


def hooked() -> JobDefinition:
    @job(executor_def=threads_executor(), hooks={cheer, weep})
    def hooked_job() -> None:
        choose()
        hopeless()

    return hooked_job


def test_hooks(instance: DagsterInstance) -> None:
    with executed(instance, hooked) as result:
        assert sorted(keys(result, DagsterEventType.HOOK_COMPLETED)) == ["choose", "hopeless"]
    assert {"choose has succeeded", "hopeless has failed"} < {*SEEN}


# Started as a program, since a signal is for a process. Its ops wait for what supervises a step, or
# for what cannot be interrupted.
INTERRUPTED = """
import sys, time
from dagster import *
from metaflow_dagster.runtime import process
from metaflow_dagster.runtime.threads import SECONDS_TO_INTERRUPT
from metaflow_dagster.runtime.executors import threads_executor
from metaflow_dagster.runtime.settings import FlowSettings
home, kind = sys.argv[1:]
flow = FlowSettings(name="MyFlow", here="/", end_event="end", next_steps={}, file=sys.executable)
seconds = {"deaf": 1, "attentive": SECONDS_TO_INTERRUPT}[kind]

@op
def attentive(context):
    code = f"import time; open('{home}/{context.op_handle.name}', 'w'); time.sleep(100)"
    with process.captured_process(flow, context, [sys.executable, "-c", code], {}) as running:
        running.wait(None)

@op
def deaf(context):
    open(f"{home}/{context.op_handle.name}", "w")
    time.sleep(100)

@op
def then(waited):
    raise Exception("must not run")

def make():
    @job(executor_def=threads_executor(2, seconds_to_interrupt=seconds))
    def waiting_job():
        wait = {"deaf": deaf, "attentive": attentive}[kind]
        for index in range(4):
            then.alias(f"then_{index}")(wait.alias(f"wait_{index}")())
    return waiting_job

if __name__ == "__main__":
    with DagsterInstance.from_config(home) as instance:
        execute_job(reconstructable(make), instance, raise_on_error=False)
"""


def interrupted(home: Path, kind: str, number: signal.Signals) -> list[DagsterEvent]:
    """The events of a run that gets a signal when it has two ops of a kind."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "interrupted.py").write_text(INTERRUPTED)
    process = subprocess.Popen([sys.executable, str(home / "interrupted.py"), str(home), kind])
    deadline = time.monotonic() + 60
    while len(list(home.glob("wait_*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(number)
    process.wait(30)
    assert time.monotonic() - started < 10
    with DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        # Nobody has told Dagster beforehand that it is to be canceled.
        assert run.status == DagsterRunStatus.FAILURE
        entries = instance.all_logs(run.run_id)
    return [entry.dagster_event for entry in entries if entry.dagster_event]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_interrupts_all_ops(tmp_path: Path, number: signal.Signals) -> None:
    events = interrupted(tmp_path, "attentive", number)
    errors = [event.step_failure_data.error for event in events if event.is_step_failure]
    names = [each.cls_name if each else None for each in errors]
    assert names == ["DagsterExecutionInterruptedError"] * 2
    assert len({event.step_key for event in events if event.is_step_start}) == 2


@pytest.mark.slow
def test_op_that_cannot_be_interrupted_does_not_hold_the_run_up(tmp_path: Path) -> None:
    events = interrupted(tmp_path, "deaf", signal.SIGTERM)
    assert len({event.step_key for event in events if event.is_step_start}) == 2
