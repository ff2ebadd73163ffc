"""Backfills: a run for each of some partitions, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from metaflow_dagster.operate.runs import DagsterRun, Launch, Phase

if TYPE_CHECKING:
    from metaflow_dagster.operate.target import Target

RUNS_AT_ONCE: Final = 2  # of a backfill without a Dagster that has limits of its own


@dataclass(frozen=True, slots=True)
class BackfillState:
    """The runs of a backfill by partition, and whether nothing more will come of it.

    `trouble` is why it has ended early, if it has.
    """

    keys: Sequence[str]
    runs: Mapping[str, DagsterRun]
    is_finished: bool
    trouble: str = ""

    def line(self) -> str:
        """The progress in words."""
        counted = Counter(run.phase for run in self.runs.values())
        waiting = len(self.keys) - len(self.runs)
        parts = [
            f"{counted[Phase.SUCCEEDED]} of {len(self.keys)} partitions have succeeded",
            *(
                f"{number} {words}"
                for number, words in (
                    (counted[Phase.FAILED], "failed"),
                    (counted[Phase.RUNNING], "running"),
                    (counted[Phase.PENDING] + waiting, "waiting"),
                )
                if number
            ),
        ]
        return ", ".join(parts)

    def failed(self) -> Iterator[tuple[str, DagsterRun]]:
        """The partitions whose run has failed, with that run."""
        return (
            (key, self.runs[key])
            for key in self.keys
            if key in self.runs and self.runs[key].phase is Phase.FAILED
        )


class Backfill(Protocol):
    """A backfill that goes on."""

    @property
    def where(self) -> Sequence[str]:
        """Lines that say where to see it."""

    @property
    def needs_waiting(self) -> bool:
        """Whether it goes on only while somebody looks at it."""

    def look(self) -> BackfillState:
        """The present state; what is to be done next is done."""


@dataclass(slots=True)
class LaunchingBackfill:
    """A backfill whose runs are launched from here, a few at once."""

    target: Target
    launch: Launch
    keys: Sequence[str]
    launched: dict[str, str] = field(default_factory=dict)  # Dagster ids by partition
    where: Sequence[str] = ()
    needs_waiting: bool = True

    def look(self) -> BackfillState:
        """The present state, after the next runs have been launched."""
        runs = {key: self.target.run(run_id) for key, run_id in self.launched.items()}
        free = RUNS_AT_ONCE - sum(not run.phase.is_finished for run in runs.values())
        waiting = [key for key in self.keys if key not in self.launched]
        for key in waiting[:free]:
            run = self.target.launch(replace(self.launch, partition=key))
            self.launched[key] = run.dagster_run_id
        is_finished = not waiting and free == RUNS_AT_ONCE
        return BackfillState(self.keys, runs, is_finished)
