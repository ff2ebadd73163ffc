"""The start of Metaflow's processes: each with a Python of its own, unless told otherwise."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol


class StepProcess(Protocol):
    """A process in a session of its own, with pipes for its output, as `subprocess.Popen` has it.

    `returncode` is None as long as nobody has waited for its end.
    """

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    returncode: Any

    def poll(self) -> int | None:
        """The exit code, if it is known."""

    def wait(self) -> int:
        """Wait for its end; gives the exit code, or the negative number of a signal."""


class StartProcess(Protocol):
    """A function that starts a command in a directory, with the variables of its environment."""

    def __call__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: str
    ) -> StepProcess:
        """Start it."""


def fresh_process(
    command: Sequence[str], environment: Mapping[str, str], directory: str
) -> StepProcess:
    """Start a command with a Python of its own."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        start_new_session=True,
    )


@contextmanager
def fresh_processes() -> Iterator[StartProcess]:
    """Give what starts the processes of a run, as long as that lasts."""
    yield fresh_process
