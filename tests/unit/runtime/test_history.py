from __future__ import annotations

import pytest
from dagster import Failure
from metaflow.metaflow_config import MAX_ATTEMPTS

from metaflow_dagster.runtime.history import refuse_more_attempts
from metaflow_dagster.runtime.tasks import Task

TASK = Task("dagster-1", "fit", "fit")


def test_metaflow_takes_six_attempts() -> None:
    assert MAX_ATTEMPTS == 6
    refuse_more_attempts(TASK, 5)


def test_more_attempts_are_refused() -> None:
    with pytest.raises(Failure, match="dagster resume --run-id dagster-1") as raised:
        refuse_more_attempts(TASK, 6)
    assert raised.value.allow_retries is False
