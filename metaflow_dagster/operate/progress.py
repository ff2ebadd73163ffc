"""The progress of a run, a line for each step of the flow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from typing_extensions import assert_never

from metaflow_dagster.names import OP_PREFIX
from metaflow_dagster.operate.runs import Event, ItemsFound, RunFailed, StepChange, StepChanged

_WORDS: Mapping[StepChange, str] = {
    StepChange.STARTED: "running",
    StepChange.RETRIED: "waiting to be tried again",
    StepChange.FAILED: "failed",
    StepChange.SKIPPED: "skipped",
}


@dataclass(slots=True)
class StepProgress:
    """The tasks of one step: what happened last, by the key of their Dagster step."""

    tasks: dict[str, StepChange] = field(default_factory=dict)

    def count(self, change: StepChange) -> int:
        """How many tasks have come to this."""
        return sum(state is change for state in self.tasks.values())


class Progress:
    """The progress of a run, from its events.

    `foreach_of` gives the foreach step that is innermost around a step, for those inside one: the
    items it has found are the tasks that the step will have.
    """

    def __init__(self, foreach_of: Mapping[str, str]) -> None:
        self._foreach_of = foreach_of
        self._steps: dict[str, StepProgress] = {}
        self._items: dict[str, dict[str, int]] = {}
        self.failures: dict[str, str] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Take notice of what has happened."""
        for event in events:
            match event:
                case StepChanged():
                    self._change(event)
                case ItemsFound():
                    step = step_of(event.key)
                    self._items.setdefault(step or "", {})[event.key] = event.items
                case RunFailed():
                    self.failures.setdefault("", event.message)
                case _:
                    assert_never(event)

    def lines(self) -> Iterator[str]:
        """A line for each step that has begun, in the order in which they did."""
        for name, step in self._steps.items():
            yield f"{name}: {self._text(name, step)}"

    def failure(self) -> str:
        """Why the run failed, by its steps, or as a whole if no step failed."""
        of_steps = [f"{key}: {text}" for key, text in self.failures.items() if key]
        return "\n".join(of_steps or self.failures.values())

    def _change(self, event: StepChanged) -> None:
        step = step_of(event.key)
        if step is not None:
            self._steps.setdefault(step, StepProgress()).tasks[event.key] = event.change
        if event.change is StepChange.FAILED:
            self.failures[event.key.removeprefix(OP_PREFIX)] = event.message

    def _text(self, name: str, step: StepProgress) -> str:
        others = [
            (step.count(change), word) for change, word in _WORDS.items() if step.count(change)
        ]
        done = step.count(StepChange.SUCCEEDED)
        if name not in self._foreach_of and len(step.tasks) == 1:
            return others[0][1] if others else "done"
        counted = [f"{done} of {self._expected(name, step)} done"]
        return ", ".join(counted + [f"{number} {word}" for number, word in others])

    def _expected(self, name: str, step: StepProgress) -> int:
        items = self._items.get(self._foreach_of.get(name, ""), {})
        return max(sum(items.values()), len(step.tasks))


def step_of(key: str) -> str | None:
    """The Metaflow step of a Dagster step; None for plumbing between steps."""
    match = re.fullmatch(rf"(?:\w+\.)?{OP_PREFIX}(\w+?)(\[.*\])?", key)
    return match[1] if match else None
