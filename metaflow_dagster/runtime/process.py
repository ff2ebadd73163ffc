"""A process that is run to its end, with everything it writes."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from dagster import Failure, OpExecutionContext

from metaflow_dagster.runtime.command import config_environment, process_environment

EXIT_DISALLOW_RETRY = 202  # metaflow.exception.METAFLOW_EXIT_DISALLOW_RETRY
SECONDS_TO_STOP = 5.0
SECONDS_TO_DRAIN = 2.0
DIGEST_LINES = 20
DIGEST_BYTES = 20_000
LONGEST_LINE = 1_000_000  # bytes that are passed on in one go


@dataclass(frozen=True)
class CapturedProcess:
    """A process that has ended, with the files its two streams were written to."""

    returncode: int
    stdout: Path
    stderr: Path

    def ending(self) -> str:
        """How it ended, to follow "The step failed"."""
        if self.returncode < 0:
            names = {one.value: one.name for one in signal.Signals}
            name = names.get(-self.returncode, f"signal {-self.returncode}")
            return f": its process was ended by {name}."
        return f" with exit code {self.returncode}."

    def digest(self) -> str:
        """The last lines it wrote to stderr."""
        with open(self.stderr, "rb") as file:
            file.seek(max(0, self.stderr.stat().st_size - DIGEST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-DIGEST_LINES:])


@contextmanager
def captured_process(
    context: OpExecutionContext, command: Sequence[str], extra: Mapping[str, str]
) -> Iterator[CapturedProcess]:
    """Run a command to its end; its output goes to this process's as it comes, and to files."""
    context.log.info(f"$ {shlex.join(command)}")
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-") as directory:
        files = Path(directory, "stdout"), Path(directory, "stderr")
        process = subprocess.Popen(
            command,
            env=process_environment({**config_environment(Path(directory, "configs")), **extra}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        pipes = zip((process.stdout, process.stderr), (sys.stdout, sys.stderr), files, strict=True)
        copying = [threading.Thread(target=copy_lines, args=pipe, daemon=True) for pipe in pipes]
        try:
            for thread in copying:
                thread.start()
            process.wait()
        finally:
            stop_process_group(process)
        # All it has written is in the pipes; but what it has left running may hold them open.
        deadline = time.monotonic() + SECONDS_TO_DRAIN
        for thread in copying:
            thread.join(max(0, deadline - time.monotonic()))
        yield CapturedProcess(process.returncode, *files)


def copy_lines(pipe: IO[bytes], stream: TextIO, path: Path) -> None:
    """Copy what comes through a pipe to a file and to a text stream, line by line."""
    with open(path, "wb", buffering=0) as file:
        while line := pipe.readline(LONGEST_LINE):
            file.write(line)
            # Whatever the stream cannot take: nobody else reads the pipe, which must not fill up.
            with suppress(OSError, ValueError):
                encoding = stream.encoding or "utf-8"
                text = line.decode(errors="replace")
                stream.write(text.encode(encoding, errors="replace").decode(encoding))
                stream.flush()


def stop_process_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with everything it has started."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS_TO_STOP)
    # What it has started may be deaf to the first signal, or be there after it has gone.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def step_failure(description: str, process: CapturedProcess, may_retry: bool) -> Failure:
    """What Dagster shows of a process that failed."""
    return Failure(
        f"{description}{process.ending()}\n{process.digest()}",
        metadata={"exit code": process.returncode},
        allow_retries=may_retry and process.returncode != EXIT_DISALLOW_RETRY,
    )
