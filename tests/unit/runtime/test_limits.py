from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster import DagsterInstance, Failure, OpExecutionContext, job, op

from metaflow_dagster.runtime.limits import SECONDS_OF_GRACE, Limit, limit_of, run_limit


@pytest.fixture
def in_run() -> Iterator[Callable[..., Any]]:
    """Call a function with the context of an op, in a run that has tags."""

    def call(function: Callable[[OpExecutionContext], Any], **tags: str) -> Any:
        results = []

        @op
        def only(context) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            results.append(function(context))

        @job
        def one() -> None:
            only()

        given = {name.replace("__", "/"): value for name, value in tags.items()}
        one.execute_in_process(instance=instance, tags=given)
        return results[0]

    with DagsterInstance.ephemeral() as instance:
        yield call


def test_no_limit(in_run: Callable[..., Any]) -> None:
    assert in_run(lambda context: limit_of(context, None)) is None


def test_timeout_of_the_step_has_some_grace(in_run: Callable[..., Any]) -> None:
    limit: Limit = in_run(lambda context: limit_of(context, 60))
    assert limit.seconds == 60 + SECONDS_OF_GRACE
    assert "@timeout of 60 seconds" in limit.reason
    assert not limit.is_final


@pytest.mark.parametrize("tag", ["100", "100.0"])
def test_time_of_the_run(tag: str, in_run: Callable[..., Any]) -> None:
    def later(context: OpExecutionContext) -> Limit | None:
        time.sleep(1)
        return limit_of(context, 3600)

    limit = in_run(later, dagster__max_runtime=tag)
    assert 80 < limit.seconds < 99.1
    assert "the 100 seconds that it may take (dagster/max_runtime)" in limit.reason
    assert limit.is_final


def test_the_earlier_of_both(in_run: Callable[..., Any]) -> None:
    limit = in_run(lambda context: limit_of(context, 1), dagster__max_runtime="100")
    assert "@timeout" in limit.reason


def test_tag_that_is_no_number_is_left_to_dagster(in_run: Callable[..., Any]) -> None:
    assert in_run(run_limit, dagster__max_runtime="soon") is None


def test_nothing_is_started_when_the_time_is_over(in_run: Callable[..., Any]) -> None:
    def late(context: OpExecutionContext) -> None:
        time.sleep(0.2)
        limit_of(context, 60)

    with pytest.raises(Failure, match="Nothing was started: the run has had") as raised:
        in_run(late, dagster__max_runtime="0.1")
    assert raised.value.allow_retries is False
