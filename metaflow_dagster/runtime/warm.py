"""Processes of Metaflow that are forked from one which has imported Metaflow already."""

import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import IO, Any

from dagster import Failure

from metaflow_dagster.runtime.command import (
    adopt_settings,
    flow_directory,
    flow_file,
    process_environment,
)
from metaflow_dagster.runtime.flow_code import provide_code
from metaflow_dagster.runtime.guard import PROCESS_VARIABLE, SECONDS_TO_STOP, stop_processes
from metaflow_dagster.runtime.op_threads import current_op_thread
from metaflow_dagster.runtime.process import write_text
from metaflow_dagster.runtime.settings import FRESH_PYTHON, FlowSettings
from metaflow_dagster.runtime.starting import StartProcess, StepProcess, fresh_process
from metaflow_dagster.runtime.step_server import (
    become_task,
    code_of,
    execute_file,
    fork_task,
    import_metaflow,
    new_main,
    next_request,
    reap,
    serve_steps,
    show_variable,
)

# Read when Python starts or when Metaflow is imported, so that a change comes too late for a fork.
READ_EARLY = (
    "(PYTHON|LD_|DYLD_|METAFLOW_|LC_|MALLOC_|GLIBC_|OPENSSL_|OTEL_).*"
    "|LANG|LANGUAGE|TZ|HOME|TMPDIR|TEMP|TMP|DISABLE_TRACING"
)
# Of Metaflow's, what it reads only when it runs a task.
READ_LATE = (
    "METAFLOW_(INIT_.*|CODE_.*|DAGSTER_(?!FRESH_PYTHON).*|RUN_ID|OWNER|PRODUCTION_TOKEN"
    "|LOCAL_CONFIG_FILE|FLOW_CONFIG_VALUE)"
)
MARKER_LENGTH = 32
SERVER_START = (  # with a number of a file; what is to be done comes through that, as it is long
    "import socket; control = socket.socket(fileno={}); "
    "text = control.recv(int.from_bytes(control.recv(8), 'big'), socket.MSG_WAITALL); "
    "exec(compile(text, '<step server>', 'exec'))"
)


SERVER_IMPORTS = """\
from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any
"""
SERVER_BODY = """
main = new_main({file!r})
variables = import_metaflow({directory!r})
request, files = serve_steps(control)
environment = {{**request["environment"], **variables}}
become_task(environment, files, {marker!r})
execute_file(request["arguments"], main)
"""


def warm_processes(flow: FlowSettings) -> Callable[[], AbstractContextManager[StartProcess]]:
    """What the executor enters for a run, so that a step server starts the run's processes."""
    return partial(step_server, flow)


@contextmanager
def step_server(flow: FlowSettings) -> Iterator[StartProcess]:
    """Have a step server for a run, and give what starts the run's processes by it.

    Elsewhere than on Linux there is none: libraries of macOS do not survive a fork.
    """
    if sys.platform != "linux" or os.environ.get(FRESH_PYTHON):
        yield fresh_process
        return
    adopt_settings(flow)
    try:
        provide_code(flow)
        environment = process_environment(flow, {PROCESS_VARIABLE: "0" * MARKER_LENGTH})
        server = StepServer(flow_file(flow), flow_directory(flow), environment)
    except (Failure, OSError):  # as when the flow is not there: each op says so
        yield fresh_process
        return
    try:
        yield server.start_process
    finally:
        server.close()


class StepServer:
    """A process that forks others, in which Metaflow is imported already.

    What it cannot start, or can no longer, starts with a Python of its own.
    """

    def __init__(self, file: str, directory: str, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.told: set[str] = set()
        self.lock = threading.Lock()
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER_START.format(theirs.fileno()), file],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self.send(server_program(file).encode(), [])
        threading.Thread(target=self.pass_on, daemon=True).start()

    def pass_on(self) -> None:
        """Pass on what Metaflow says when it is imported."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                write_text(line.decode(errors="replace"), sys.stderr)

    def send(self, text: bytes, files: Sequence[int]) -> None:
        """Send a text with some files, which the server gets opened; nothing if it has ended."""
        with self.lock, suppress(OSError):
            socket.send_fds(self.control, [len(text).to_bytes(8, "big")], files)
            self.control.sendall(text)

    def start_process(
        self, command: Sequence[str], environment: Mapping[str, str], directory: str
    ) -> StepProcess:
        """Start a command of the flow."""
        if names := read_too_early(self.environment, environment):
            self.tell(f"{', '.join(names)} is not as in the run's process")
            return fresh_process(command, environment, directory)
        if forked := self.forked(command, environment):
            return forked
        self.tell("the process from which they are forked has ended")
        return fresh_process(command, environment, directory)

    def tell(self, reason: str) -> None:
        """Say once in a run why processes are not forked."""
        with self.lock:
            is_new = reason not in self.told
            self.told.add(reason)
        for stream in current_op_thread().stderr if is_new else ():
            write_text(f"Steps start with a Python of their own where {reason}.\n", stream)

    def forked(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> "ForkedProcess | None":
        """Start a command in a process that the server forks; None if there is no server."""
        request = {"arguments": command[1:], "environment": dict(environment)}
        reading, writing = zip(os.pipe(), os.pipe(), os.pipe(), strict=True)
        try:
            self.send(json.dumps(request).encode(), writing)
        finally:
            for one in writing:
                os.close(one)
        files = [os.fdopen(one, "rb") for one in reading]
        if pid := int(files[-1].readline() or 0):
            return ForkedProcess(pid, environment[PROCESS_VARIABLE], files)
        for file in files:
            file.close()
        return None

    def close(self) -> None:
        """Let the server end, by force if it does not even come to see that it should."""
        self.control.close()
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ForkedProcess:
    """A process that a step server has forked."""

    def __init__(self, pid: int, marker: str, files: Sequence[IO[bytes]]) -> None:
        self.pid = pid
        self.marker = marker
        self.stdout: IO[bytes] | None = files[0]
        self.stderr: IO[bytes] | None = files[1]
        self.status = files[2]
        self.returncode: int | None = None
        self.lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, if this has been waited for."""
        return self.returncode

    def wait(self) -> int:
        """Wait for its end, which the process tells that is its parent."""
        with self.lock:
            if self.returncode is None:
                with self.status:
                    ending = self.status.readline()
                self.returncode = int(ending) if ending else self.give_up()
            return self.returncode

    def give_up(self) -> int:
        """End it, if the parent was killed: nobody would learn what comes of it."""
        stop_processes({f"{PROCESS_VARIABLE}={self.marker}": self.pid}, SECONDS_TO_STOP)
        return -signal.SIGKILL


def server_program(file: str) -> str:
    """The program of a step server for a flow's file, which has its end of a socket as `control`.

    It is made of the source of functions, after what they import.
    """
    functions: tuple[Any, ...] = (
        import_metaflow,
        serve_steps,
        next_request,
        fork_task,
        reap,
        become_task,
        show_variable,
        execute_file,
        code_of,
        new_main,
    )
    directory = os.path.dirname(os.path.realpath(file))
    body = SERVER_BODY.format(file=file, directory=directory, marker=PROCESS_VARIABLE)
    return "\n".join([SERVER_IMPORTS, *map(inspect.getsource, functions), body])


def read_too_early(server: Mapping[str, str], task: Mapping[str, str]) -> list[str]:
    """The variables that differ for a task from those that a server has read already."""
    different = {name for name, _value in server.items() ^ task.items()}
    return sorted(
        name
        for name in different
        if re.fullmatch(READ_EARLY, name) and not re.fullmatch(READ_LATE, name)
    )
