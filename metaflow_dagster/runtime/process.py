"""A process that is run to its end, with everything it writes."""

import shlex
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, TextIO

from dagster import OpExecutionContext

from metaflow_dagster.runtime.command import flow_directory, process_environment, unfit
from metaflow_dagster.runtime.failures import final_failure, retry_request, step_error
from metaflow_dagster.runtime.flow_code import provide_code
from metaflow_dagster.runtime.guard import (
    PROCESS_VARIABLE,
    SECONDS_TO_STOP,
    only_guard,
    stop_processes,
)
from metaflow_dagster.runtime.limits import Limit
from metaflow_dagster.runtime.logs import PIECE_BYTES, StreamLog, pieces, structured
from metaflow_dagster.runtime.op_threads import current_op_thread
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import task_datastore
from metaflow_dagster.runtime.tasks import Task

EXIT_DISALLOW_RETRY = 202  # metaflow.exception.METAFLOW_EXIT_DISALLOW_RETRY
SECONDS_TO_DRAIN = 2.0
LONGEST_SHOWN = 40  # characters of a text that is refused
OUTPUT_LOCK = threading.Lock()  # since text streams of Python are not made for several threads


class CapturedProcess:
    """A process in a session of its own, whose output is passed on as it comes, and kept."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: str, marker: str
    ) -> None:
        self.marker = marker
        self.limit: Limit | None = None  # that it has reached
        self.stdout = StreamLog()
        self.stderr = StreamLog()
        self.thread = current_op_thread()
        self.seconds = 0.0  # that it has taken, once it has ended
        self.started = time.monotonic()
        marked = {**environment, PROCESS_VARIABLE: marker.partition("=")[2]}
        self.process = self.thread.start_process(command, marked, directory)
        self.copying = [
            threading.Thread(target=copy_lines, args=pipe, daemon=True)
            for pipe in (
                (self.process.stdout, self.thread.stdout, self.stdout),
                (self.process.stderr, self.thread.stderr, self.stderr),
            )
        ]

    @property
    def returncode(self) -> int:
        """Its exit code, or the negative number of the signal that has ended it."""
        return int(self.process.returncode)

    def wait(self, limit: Limit | None) -> None:
        """Wait until it has ended; at the limit, or when this is interrupted, it is stopped."""
        try:
            for thread in self.copying:
                thread.start()
            if not self.ends_within(min(limit.seconds, threading.TIMEOUT_MAX) if limit else None):
                self.limit = limit
        finally:
            self.stop()
            self.seconds = time.monotonic() - self.started
            self.drain()

    def ends_within(self, seconds: float | None) -> bool:
        """Whether it ends in time, which another thread waits for: this one may be interrupted."""
        ended = threading.Event()

        def wait() -> None:
            self.process.wait()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        return self.thread.interruption.wait(ended, seconds)

    def stop(self) -> None:
        """End it, if it still runs or was killed, with everything it has started.

        What a process leaves running that has ended by itself stays, as under Metaflow.
        """
        ending = self.process.poll()
        if ending is None or ending < 0:
            stop_processes({self.marker: self.process.pid}, SECONDS_TO_STOP)
            self.process.wait()

    def drain(self) -> None:
        """Take what is left in the pipes, but not wait for others that hold them open."""
        deadline = time.monotonic() + SECONDS_TO_DRAIN
        for thread in self.copying:
            thread.join(max(0, deadline - time.monotonic()))

    def ending(self) -> str:
        """How it ended, to follow "The step failed"."""
        if self.limit:
            return f": {self.limit.reason}"
        if self.returncode < 0:
            names = {known.value: known.name for known in signal.Signals}
            name = names.get(-self.returncode, f"signal {-self.returncode}")
            return f": its process was ended by {name}."
        return f" with exit code {self.returncode}."


@contextmanager
def captured_process(
    flow: FlowSettings,
    context: OpExecutionContext,
    command: Sequence[str],
    extra: Mapping[str, str],
) -> Iterator[CapturedProcess]:
    """Start a command, to be waited for; whatever happens to this process, it is ended."""
    provide_code(flow)
    check_fit(command, extra)
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-") as directory:
        code = flow.code.task_variables(flow) if flow.code else {}
        configs = flow.configs.environment(directory) if flow.configs else {}
        environment = process_environment(flow, {**code, **configs, **extra})
        marker = f"{PROCESS_VARIABLE}={uuid.uuid4().hex}"
        guardian = only_guard()
        guardian.watch(marker)  # before it starts, so that at no moment it is left alone
        captured = CapturedProcess(command, environment, flow_directory(flow), marker)
        guardian.watch(marker, captured.process.pid)
        try:
            context.log.debug(f"$ {shlex.join(command)}")  # after the start, as it takes a while
            yield captured
        finally:
            captured.stop()
            guardian.leave(marker)


def check_fit(command: Sequence[str], extra: Mapping[str, str]) -> None:
    """`dagster.Failure` if a process cannot be given an argument or variable, as from a tag."""
    arguments = [(repr(text[:LONGEST_SHOWN]), text) for text in command]
    # Of a variable only its name is shown: the value may be a secret.
    variables = [(name, f"{name}={value}") for name, value in extra.items()]
    for what, text in (*arguments, *variables):
        if problem := unfit(text):
            reason = f"A process cannot be given {what}…: {problem}."
            raise final_failure(f"{reason} Fix what it comes from: tags, options.")


def copy_lines(
    pipe: IO[bytes], streams: Sequence[TextIO], log: StreamLog, most: int = PIECE_BYTES
) -> None:
    """Copy what comes through a pipe to a log and to text streams, line by line.

    A line of more than `most` bytes is taken in several pieces.
    """
    for piece in pieces(pipe, most):
        log.add(piece)
        text = piece.message.decode(errors="replace")
        for stream in streams:
            write_text(text, stream)


def write_text(text: str, stream: TextIO) -> None:
    """Write to a stream what it can take: nobody else reads the pipe, which must not fill up."""
    with OUTPUT_LOCK, suppress(OSError, ValueError):
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, errors="replace").decode(encoding))
        stream.flush()


def step_failure(
    context: OpExecutionContext,
    description: str,
    process: CapturedProcess,
    may_retry: bool,
    metadata: Mapping[str, Any],
) -> Exception:
    """The error that ends an op whose process has failed: a failure, or a request for a retry."""
    is_final = process.limit.is_final if process.limit else False
    error = step_error(process.stderr.last_lines())
    message = f"{description}{process.ending()}"
    details = {**metadata, "exit code": process.returncode}
    if may_retry and not is_final and process.returncode != EXIT_DISALLOW_RETRY:
        request = retry_request(context, message, error, details)
        if request is not None:
            return request
    return final_failure(message, error, details)


def keep_logs(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: Task,
    attempt: int,
    process: CapturedProcess,
) -> None:
    """Keep the output of a task; of one that has failed, its own failure is what matters.

    It may have failed since the datastore is full or cannot be reached.
    """
    from metaflow.exception import MetaflowException

    try:
        save_logs(flow, task, attempt, process)
    except (MetaflowException, OSError) as error:
        if not process.returncode:
            raise
        context.log.warning(f"The logs of {task} are not kept in the datastore: {error}")


def save_logs(flow: FlowSettings, task: Task, attempt: int, process: CapturedProcess) -> None:
    """Keep the output and the ending of a task as Metaflow's own runtime does."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE

    datastore = task_datastore(flow, task, attempt, "w")
    if process.returncode:
        # A process that died early has not announced its attempt, and the next one counts them.
        datastore.init_task()
    ending = {
        "return_code": process.returncode,
        "killed": process.returncode == -signal.SIGKILL,
        "success": not process.returncode,
    }
    datastore.save_metadata({"runtime": ending})
    streams = {
        "stdout": process.stdout.text(),
        "stderr": process.stderr.text() + ending_line(process.returncode),
    }
    datastore.save_logs(RUNTIME_LOG_SOURCE, streams)


def ending_line(returncode: int) -> bytes:
    """The lines that Metaflow's own runtime adds to the errors of a task that has failed.

    metaflow/runtime.py: Worker.terminate
    """
    if not returncode:
        return b""
    is_fault = returncode == -signal.SIGSEGV
    return structured(b"Task failed with a segmentation fault." if is_fault else b"Task failed.")
