"""Waiting for the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from metaflow_dagster.operate import follow as following
from metaflow_dagster.operate.errors import DagsterUnavailable
from metaflow_dagster.operate.follow import follow
from metaflow_dagster.operate.progress import Progress
from metaflow_dagster.operate.runs import DagsterRun, Event, Phase, StepChange, StepChanged
from tests.unit.operate.targets import Runs, run


class Restarted(Runs):
    """A target that is silent for some looks, at a run that then has ended."""

    def __init__(self, silent: int) -> None:
        super().__init__(run("x"))
        self.silent = silent

    def run(self, dagster_run_id: str) -> DagsterRun:
        self.silent -= 1
        if self.silent >= 0:
            raise DagsterUnavailable("No answer.")
        return super().run(dagster_run_id)

    def events(self, dagster_run_id: str, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        return ([] if cursor else [StepChanged("op_end", StepChange.SUCCEEDED)]), "seen"


def test_restart_of_the_server_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SECONDS_BETWEEN_LOOKS", 0.01)
    shown: list[Sequence[str]] = []
    ended = follow(Restarted(3), "x", Progress({}), shown.append)
    assert ended.phase is Phase.SUCCEEDED
    assert shown[0] == []
    assert shown[-1] == ["end: done"]


def test_server_that_is_gone_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(following, "SECONDS_OF_SILENCE", 0.05)
    with pytest.raises(DagsterUnavailable):
        follow(Restarted(10_000), "x", Progress({}), lambda lines: None)
