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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import IO, Any, Protocol

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
    changed_variables,
    code_of,
    execute_file,
    fork_task,
    import_metaflow,
    leave_shared,
    new_main,
    next_request,
    reap,
    renew_random_numbers,
    renewed,
    serve_steps,
    share_memory,
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

import atexit
import gc
import importlib
import io
import json
import os
import socket
import sys
import threading
from contextlib import suppress
from typing import Any
"""
SERVER_BODY = """
shared = {{}}
atexit.register(leave_shared, shared)
main = new_main({file!r})
before = dict(os.environ)
import_metaflow({directory!r})
{preload}
share_memory(shared)
variables = changed_variables(before)
request, files = serve_steps(control)
environment = {{**request["environment"], **variables}}
become_task(environment, files, {marker!r})
renew_random_numbers()
execute_file(request["arguments"], renewed(main))
"""


class Preload(Protocol):
    """The modules that a step server imports for all tasks (`preload.py`)."""

    def program(self, file: str) -> str:
        """The part of the server's program that imports them, for a flow's file."""
        ...

    def report(self, control: socket.socket) -> None:
        """Wait until they have been imported, and say in the run's log which were left out."""
        ...


def warm_processes(
    flow: FlowSettings, preload: Preload | None = None
) -> Callable[[], AbstractContextManager[StartProcess]]:
    """A context that the executor enters for a run, so that a step server starts its processes.

    `preload` has the modules that the server imports for all of them.
    """
    return partial(ServedProcesses, flow, preload)


class ServedProcesses(AbstractContextManager[StartProcess]):
    """A step server for a run, and what starts the run's processes by it.

    It starts before this is entered where the flow is on this machine, since it takes as long as
    Dagster does to begin. Elsewhere than on Linux there is none: libraries of macOS do not survive
    a fork.
    """

    def __init__(self, flow: FlowSettings, preload: Preload | None) -> None:
        self.flow = flow
        self.preload = preload
        self.server = self.started() if os.path.exists(flow_file(flow)) else None

    def started(self) -> "StepServer | None":
        """The server, if there is to be one."""
        if sys.platform != "linux" or os.environ.get(FRESH_PYTHON):
            return None
        adopt_settings(self.flow)
        try:
            provide_code(self.flow)
            environment = process_environment(self.flow, {PROCESS_VARIABLE: "0" * MARKER_LENGTH})
            file, directory = flow_file(self.flow), flow_directory(self.flow)
            return StepServer(file, directory, environment, self.preload)
        except (Failure, OSError):  # as when the flow is not there: each op says so
            return None

    def __enter__(self) -> StartProcess:
        self.server = self.server or self.started()
        return self.server.start_process if self.server else fresh_process

    def __exit__(self, *_error: object) -> None:
        if self.server:
            self.server.close()


class StepServer:
    """A process that forks others, in which Metaflow is imported already.

    What it cannot start, or can no longer, starts with a Python of its own.
    """

    def __init__(
        self,
        file: str,
        directory: str,
        environment: Mapping[str, str],
        preload: Preload | None = None,
    ) -> None:
        self.environment = environment
        self.told: set[str] = set()
        self.preload = preload
        self.lock = threading.Lock()
        self.hearing = threading.Lock()
        self.has_heard = False
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
        self.send(server_program(file, preload).encode(), [])
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
        if names := read_too_early(self.environment, environment, self.preload):
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
        self.hear()
        request = {"arguments": command[1:], "environment": dict(environment)}
        reading, writing = zip(os.pipe(), os.pipe(), os.pipe(), strict=True)
        try:
            self.send(json.dumps(request).encode(), writing)
        finally:
            for end in writing:
                os.close(end)
        files = [os.fdopen(end, "rb") for end in reading]
        if pid := int(files[-1].readline() or 0):
            return ForkedProcess(pid, environment[PROCESS_VARIABLE], files)
        for file in files:
            file.close()
        return None

    def hear(self) -> None:
        """Wait until modules have been imported, and say in the run's log which were left out."""
        with self.hearing:
            if self.preload and not self.has_heard:
                self.has_heard = True
                self.preload.report(self.control)

    def close(self) -> None:
        """Let the server end, by force if it does not even come to see that it should."""
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)  # also if an op is still waiting for it
        self.control.close()
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            # One that is about to import modules is in its session, and is no child of this one.
            stop_processes({f"{PROCESS_VARIABLE}=": self.process.pid}, 0)
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


def server_program(file: str, preload: Preload | None = None) -> str:
    """The program of a step server for a flow's file, which has its end of a socket as `control`.

    It is made of the source of functions, after what they import.
    """
    functions: tuple[Any, ...] = (
        import_metaflow,
        share_memory,
        changed_variables,
        leave_shared,
        serve_steps,
        next_request,
        fork_task,
        reap,
        become_task,
        show_variable,
        renew_random_numbers,
        execute_file,
        code_of,
        new_main,
        renewed,
    )
    body = SERVER_BODY.format(
        file=file,
        directory=os.path.dirname(os.path.realpath(file)),
        preload=preload.program(file) if preload else "",
        marker=PROCESS_VARIABLE,
    )
    return "\n".join([SERVER_IMPORTS, *map(inspect.getsource, functions), body])


def read_too_early(
    server: Mapping[str, str], task: Mapping[str, str], preload: Preload | None = None
) -> list[str]:
    """The variables that differ for a task from those that a server has read already.

    Modules that it has imported may have read anything, as numpy does with OMP_NUM_THREADS.
    """
    early = ".*" if preload else READ_EARLY
    different = {name for name, _value in server.items() ^ task.items()}
    return sorted(
        name
        for name in different
        if re.fullmatch(early, name) and not re.fullmatch(READ_LATE, name)
    )
