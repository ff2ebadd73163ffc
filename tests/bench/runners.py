"""What runs a flow, or compiles it: the commands, each with those that prepare for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.bench.flows import BenchFlow

Arguments = tuple[str, ...]

FLOW_FILE = "flow.py"
JOB_FILE = "job.py"
CONFIG_FILE = "config.json"
MOST_SPLITS = 10_000  # Metaflow's own limit is 100 items


class Runner(Protocol):
    """Gives commands that are run where the flow is, as `flow.py`; the last one is measured.

    `workers` is how many tasks may run at once.
    """

    @property
    def name(self) -> str:
        """What the command line and the tables call it."""

    @property
    def runs_flow(self) -> bool:
        """Whether the flow comes to its end by it."""

    @property
    def place(self) -> Path | None:
        """Where its package is, if not where the interpreter finds it."""

    def prepare(self, directory: Path, workers: int) -> Sequence[Arguments]:
        """Write what it needs next to the flow; return the commands to run once."""

    def command(self, flow: BenchFlow, workers: int) -> Arguments:
        """The command to measure."""


@dataclass(frozen=True)
class Native:
    """Metaflow's own scheduler."""

    name: str = "native"
    runs_flow: bool = True
    place: Path | None = None

    def prepare(self, directory: Path, workers: int) -> Sequence[Arguments]:
        """Nothing to do."""
        return ()

    def command(self, flow: BenchFlow, workers: int) -> Arguments:
        """`flow.py run`."""
        limits = (f"--max-workers={workers}", f"--max-num-splits={MOST_SPLITS}")
        return (sys.executable, FLOW_FILE, "run", *limits)


@dataclass(frozen=True)
class Compiled:
    """This project, by `options` of `dagster create`; `parallel` if it runs steps at once.

    `place` is where the package is, if not where the interpreter finds it.
    """

    name: str
    options: Arguments
    parallel: bool = True
    runs_flow: bool = True
    place: Path | None = None

    def at(self, place: Path) -> Compiled:
        """The same with the package of another directory."""
        return replace(self, place=place)

    def prepare(self, directory: Path, workers: int) -> Sequence[Arguments]:
        """Compile the flow."""
        limit = (f"--max-workers={workers}",) if self.parallel else ()
        return ((*_create(sys.executable), *self.options, *limit),)

    def command(self, flow: BenchFlow, workers: int) -> Arguments:
        """`dagster job execute`."""
        return _execute(sys.executable, flow)


@dataclass(frozen=True)
class Peer:
    """The older package, in the environment of the interpreter `python`."""

    python: str
    name: str = "peer"
    runs_flow: bool = True
    place: Path | None = None

    def prepare(self, directory: Path, workers: int) -> Sequence[Arguments]:
        """Compile the flow, and limit the workers by configuration, as it has no option."""
        config = {"execution": {"config": {"multiprocess": {"max_concurrent": workers}}}}
        (directory / CONFIG_FILE).write_text(json.dumps(config))
        return (_create(self.python),)

    def command(self, flow: BenchFlow, workers: int) -> Arguments:
        """`dagster job execute`."""
        return (*_execute(self.python, flow), "-c", CONFIG_FILE)


@dataclass(frozen=True)
class Reading:
    """A command that reads the flow and runs none of it."""

    name: str
    arguments: Arguments
    runs_flow: bool = False
    place: Path | None = None

    def prepare(self, directory: Path, workers: int) -> Sequence[Arguments]:
        """Nothing to do."""
        return ()

    def command(self, flow: BenchFlow, workers: int) -> Arguments:
        """The same for each flow and any number of workers."""
        return (sys.executable, FLOW_FILE, *self.arguments)


NATIVE = Native()
DEFAULT = Compiled("default", ())
FRESH = Compiled("fresh", ("--no-warm-steps",))
MULTIPROCESS = Compiled("multiprocess", ("--executor", "multiprocess"))
IN_PROCESS = Compiled("in_process", ("--executor", "in_process"), parallel=False)
# The state that later ones are measured against, by its commit; warm steps were no default then.
EARLIER = Compiled("c0de856", ("--warm-steps",))

# What a user chooses from; the first is what the others are compared with.
RUNNERS: tuple[Runner, ...] = (NATIVE, DEFAULT, FRESH, MULTIPROCESS, IN_PROCESS)

SHOW = Reading("show", ("show",))
CREATE = Reading("create", ("dagster", "create", JOB_FILE))


def _create(python: str) -> Arguments:
    return (python, FLOW_FILE, "dagster", "create", JOB_FILE)


def _execute(python: str, flow: BenchFlow) -> Arguments:
    return (python, "-m", "dagster", "job", "execute", "-f", JOB_FILE, "-j", flow.name)
