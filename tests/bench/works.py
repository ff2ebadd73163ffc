"""What is measured: flows, with those that run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.bench import flows
from tests.bench.flows import BenchFlow
from tests.bench.runners import (
    CREATE,
    DEFAULT,
    EARLIER,
    FRESH,
    IN_PROCESS,
    MULTIPROCESS,
    NATIVE,
    SHOW,
    Runner,
)

Measure = Literal["run", "memory", "compile", "cpu", "peak"]
Storage = Literal["local", "distant", "daemon"]

COMPILED_STEPS = (250, 500, 1000, 2000)
MEMORY_WORKERS = 16
SECONDS_AWAY = 0.02


@dataclass(frozen=True)
class Work:
    """A flow and what is measured of it: seconds, or MiB where that is `memory` or `peak`.

    `cpu` and `peak` are about the process of the run alone. Where `storage` is `distant`, Dagster's
    is a PostgreSQL server of which each answer takes `SECONDS_AWAY`; where it is `daemon`, a daemon
    with such a server at hand launches the runs. What is `long` is done only if it is asked for.
    `runners` meet `repetitions` times, and those of `once` join them the first time; with `peer`
    the older package does too, if it is wanted. `workers` is set where it is no choice of the
    user's.
    """

    name: str
    measure: Measure
    flow: BenchFlow
    repetitions: int
    runners: tuple[Runner, ...]
    once: tuple[Runner, ...] = ()
    peer: bool = False
    workers: int | None = None
    storage: Storage = "local"
    long: bool = False


@dataclass(frozen=True)
class Turn:
    """One measurement."""

    work: Work
    runner: Runner


# Which runners a flow has is what fits into a quarter of an hour.
_COMPARED = (NATIVE, DEFAULT, FRESH)
_SLOW = (MULTIPROCESS, IN_PROCESS)
_LATER = (DEFAULT, EARLIER)

_MEETING = flows.meeting(100, MEMORY_WORKERS)

WORKS: tuple[Work, ...] = (
    Work("foreach-8", "run", flows.foreach(8), 3, (*_COMPARED, EARLIER), _SLOW, peer=True),
    Work("foreach-100", "run", flows.foreach(100), 3, (*_COMPARED, EARLIER), _SLOW, peer=True),
    Work("foreach-1000", "run", flows.foreach(1000), 1, _COMPARED),
    Work("nested-10x10", "run", flows.nested(10, 10), 1, _COMPARED),
    Work("chain-30", "run", flows.chain(30), 1, _COMPARED),
    Work("split-50", "run", flows.split(50), 1, _COMPARED),
    Work("cpu-8", "cpu", flows.foreach(8), 3, _LATER),
    Work("cpu-100", "cpu", flows.foreach(100), 3, _LATER),
    Work("memory-100", "memory", _MEETING, 1, _COMPARED, workers=MEMORY_WORKERS),
    *(
        Work(f"compile-{steps}", "compile", flows.many_steps(steps), 3, (SHOW, CREATE))
        for steps in COMPILED_STEPS
    ),
    Work("foreach-10000", "run", flows.foreach(10_000), 1, (DEFAULT,), long=True),
    Work("peak-1000", "peak", flows.foreach(1000), 1, (DEFAULT,), long=True),
    Work("peak-10000", "peak", flows.foreach(10_000), 1, (DEFAULT,), long=True),
    Work("distant-100", "run", flows.foreach(100), 1, _LATER, storage="distant", long=True),
    Work("distant-1000", "run", flows.foreach(1000), 1, _LATER, storage="distant", long=True),
    Work(
        "daemon-1000", "run", flows.foreach(1000), 1, (NATIVE, DEFAULT), storage="daemon", long=True
    ),
)

WARM_UP = flows.foreach(1)


def turns(works: Sequence[Work], peer: Runner | None) -> list[Turn]:
    """All measurements in their order: whatever is compared takes turns."""
    rounds = max((work.repetitions for work in works), default=0)
    return [
        Turn(work, runner)
        for number in range(rounds)
        for work in works
        if number < work.repetitions
        for runner in _runners(work, number, peer)
    ]


def _runners(work: Work, number: int, peer: Runner | None) -> tuple[Runner, ...]:
    if number:
        return work.runners
    return (*work.runners, *work.once, *((peer,) if peer and work.peer else ()))
