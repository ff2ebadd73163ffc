"""When a process has had its time."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from dagster import OpExecutionContext

from metaflow_dagster.runtime.failures import final_failure

MAX_RUNTIME = "dagster/max_runtime"  # dagster/_core/storage/tags.py: MAX_RUNTIME_SECONDS_TAG
SECONDS_OF_GRACE = 30.0  # in which a step may end by itself after its timeout


@dataclass(frozen=True)
class Limit:
    """How many seconds a process may run from now on, and what is said if it runs longer."""

    seconds: float
    reason: str
    is_final: bool  # so that a retry is no use


def limit_of(context: OpExecutionContext, timeout: float | None) -> Limit | None:
    """The limit of a process, from the `@timeout` of its step and from that of the run.

    `dagster.Failure` if it need not be started.
    """
    limits = [given for given in (step_limit(timeout), run_limit(context)) if given]
    limit = min(limits, key=lambda given: given.seconds, default=None)
    if limit and limit.seconds <= 0:
        raise final_failure(f"Nothing was started: {limit.reason}")
    return limit


def step_limit(timeout: float | None) -> Limit | None:
    """When a step is stopped that has not reacted to the alarm Metaflow has set in it."""
    if timeout is None:
        return None
    reason = (
        f"it was stopped, since it had not ended by itself {SECONDS_OF_GRACE:g} seconds after its "
        f"@timeout of {timeout:g} seconds."
    )
    return Limit(timeout + SECONDS_OF_GRACE, reason, is_final=False)


def run_limit(context: OpExecutionContext) -> Limit | None:
    """The remaining time of a run, by the limit that is a tag of the run.

    Dagster's daemon enforces it as well, but only where the instance has run monitoring on.
    """
    seconds = tagged_seconds(context.run.tags)
    if seconds is None:
        return None
    record = context.instance.get_run_record_by_id(context.run_id)
    start = (record and record.start_time) or time.time()
    reason = f"the run has had the {seconds:g} seconds that it may take ({MAX_RUNTIME})."
    return Limit(start + seconds - time.time(), reason, is_final=True)


def tagged_seconds(tags: Mapping[str, str]) -> float | None:
    """The seconds that a run may take; None if its tags do not say so."""
    try:
        seconds = float(tags.get(MAX_RUNTIME, ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
