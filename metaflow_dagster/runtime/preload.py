"""How a step server imports the modules of `--preload`, of which none may do harm to a run.

These functions run in the Python of the server, from their source, as those of `step_server.py` do.
"""

import atexit
import importlib
import inspect
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dagster import get_dagster_logger

SECONDS_TO_IMPORT = 60  # in which a module has to be imported
PRELOAD_IMPORTS = """\
import select
import shutil
import signal
import time
import weakref

SECONDS_TO_IMPORT = {seconds}
"""


@dataclass(frozen=True)
class PreloadedModules:
    """Modules that a step server imports for all tasks, by name."""

    names: Sequence[str]

    def program(self, file: str) -> str:
        """The part of the server's program that imports them, for a flow's file."""
        functions: tuple[Any, ...] = (
            preload_modules,
            import_modules,
            outcome,
            is_wanted,
            end_group,
            become_parent,
            fault_of_import,
            lasting_threads,
            other_threads,
            has_children,
            import_noting_exits,
            removes_files,
            open_descriptors,
            shared_memory,
        )
        imports = PRELOAD_IMPORTS.format(seconds=SECONDS_TO_IMPORT)
        call = f"preload_modules({list(self.names)!r}, {file!r}, control)"
        return "\n".join([imports, *map(inspect.getsource, functions), call])

    def report(self, control: socket.socket) -> None:
        """Wait until they have been imported, and say in the run's log which were left out."""
        with suppress(OSError):
            length = int.from_bytes(control.recv(8, socket.MSG_WAITALL), "big")
            text = control.recv(length, socket.MSG_WAITALL)
            if len(text) == length > 0:
                log_left_out(json.loads(text))


def log_left_out(left_out: dict[str, str]) -> None:
    """Say in the run's log which modules are not imported for all tasks, and why."""
    for name, reason in left_out.items():
        get_dagster_logger().warning(
            f"--preload {name} is left out, so each task imports that itself: {reason}."
        )


def preload_modules(names: list[str], file: str, control: Any) -> None:
    """Import modules, and tell through a socket which ones were left out, and why.

    They are imported in a forked process, which goes on as the server if all went well. If not, it
    ends, with whatever the module has done to it, and the others are tried in another one: so each
    is imported but once where none is left out.
    """
    sys.argv = [file]
    left_out: dict[str, str] = {}
    while remaining := [name for name in names if name not in left_out]:
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(reading)
            os.setpgid(0, 0)  # with what the modules start, to be ended together
            import_modules(remaining, writing)
            os.close(writing)
            break
        os.close(writing)
        name, fault = outcome(reading, pid, control)
        if not name:
            become_parent(pid)
        left_out[name] = fault
    text = json.dumps(left_out).encode()
    control.sendall(len(text).to_bytes(8, "big") + text)


def import_modules(names: list[str], report: int) -> None:
    """Import modules; this process ends at the first one that is to be left out.

    What is reported is a JSON list a line: a name when its import begins, with the reason if the
    module is left out, and an empty name at the end. If an import takes too long, or the server was
    killed in the meantime, nobody has to end this process.
    """
    for name in names:
        os.write(report, json.dumps([name]).encode() + b"\n")
        signal.alarm(SECONDS_TO_IMPORT)
        fault = fault_of_import(name)
        signal.alarm(0)
        if fault:
            with suppress(OSError):
                os.write(report, json.dumps([name, fault]).encode() + b"\n")
            os._exit(1)
    os.write(report, b'[""]\n')


def outcome(report: int, pid: int, control: Any) -> tuple[str, str]:
    """The module for which a process that imports some has ended, and why; empty if it has not.

    If the run is gone in the meantime, which its socket tells, both processes end at once.
    """
    name = "?"
    fault: list[str] = []
    with os.fdopen(report, "rb", buffering=0) as lines:
        while is_wanted(lines, control):
            line = lines.readline()
            if not line:
                break
            name, *fault = json.loads(line)
            if fault or not name:
                break
        else:
            end_group(pid)
            os._exit(0)
    if not name:
        return "", ""
    end_group(pid)
    ending = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if fault:
        return name, fault[0]
    if ending == -signal.SIGALRM:
        return name, f"its import takes more than {SECONDS_TO_IMPORT} seconds"
    return name, f"its import ends the process, with exit code {ending}"


def is_wanted(lines: Any, control: Any) -> bool:
    """Wait for a line, or its end; whether the other end of a socket is there still."""
    looking = select.poll()
    looking.register(lines, select.POLLIN)
    looking.register(control, 0)  # tells by itself that there is no other end
    return control.fileno() not in dict(looking.poll())


def end_group(pid: int) -> None:
    """End a process, with those that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def become_parent(pid: int) -> None:
    """Leave it to a process to be the server, and end when that does."""
    ending = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(ending if ending >= 0 else 1)


def fault_of_import(name: str) -> str:
    """Import a module; why tasks must not be forked from a process that has it, empty if they may.

    Metaflow's command line takes options from the flow when it is imported, which comes later.
    """
    files, memory, modules = open_descriptors(), shared_memory(), {*sys.modules}
    try:
        exits = import_noting_exits(name)
    # Whatever it raises, SystemExit included: the steps import it themselves, and show it.
    except BaseException as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    imported = sys.modules.keys() - modules
    if any(name == "metaflow.cli" or name.startswith("metaflow.cli_c") for name in imported):
        return "it imports Metaflow's command line, which has to know the flow first"
    if threads := lasting_threads():
        return f"it has started {threads} thread{'s' * (threads > 1)}, which a fork would lose"
    if has_children():
        return "it has started a process, which all tasks would share"
    if opened := sorted(target for _, target in open_descriptors() - files):
        return f"it has opened {opened[0]}, whose state all tasks would share"
    if shared_memory() - memory:
        return "it has made a lock or memory that all tasks would share"
    if removes_files(exits):
        return "it removes files when a process ends, which the first task would do for all"
    return ""


def import_noting_exits(name: str) -> list[Any]:
    """Import a module; the functions that are to be called when this process ends."""
    register: Any = atexit.register
    noted: list[Any] = []

    def note(function: Any, *arguments: Any, **keywords: Any) -> Any:
        noted.append(function)
        return register(function, *arguments, **keywords)

    atexit.register = note  # type: ignore[assignment]
    try:
        importlib.import_module(name)
    finally:
        atexit.register = register
    finalizers: dict[Any, Any] = getattr(weakref.finalize, "_registry", {})
    return [*noted, *(finalizer.func for finalizer in finalizers.values())]


def removes_files(functions: list[Any]) -> bool:
    """Whether some functions remove files, as those of a temporary directory do."""
    removing = (shutil.rmtree, os.remove, os.unlink, os.rmdir)
    return any(
        function in removing or getattr(function, "__module__", "") == "tempfile"
        for function in functions
    )


def lasting_threads() -> int:
    """How many threads there are besides this one, which a fork would lose.

    Those of a library that ends them at a fork, and starts others when it needs some, do not count:
    so does OpenBLAS, which comes with numpy. They are seen in /proc only, and gone after a fork.
    """
    if threading.active_count() > 1 or not os.path.isdir("/proc/self/task"):
        return threading.active_count() - 1
    if other_threads():
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.05)  # for one that has ended is listed a moment longer
    return other_threads()


def other_threads() -> int:
    """How many threads /proc shows besides this one, and those that jemalloc frees memory by.

    jemalloc, which comes with pyarrow, holds its locks during a fork and does without those threads
    in the new process (jemalloc's background_thread.c: background_thread_postfork_child).
    """
    count = -1
    for entry in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{entry}/comm") as command:
            count += command.read() != "jemalloc_bg_thd\n"
    return count


def has_children() -> bool:
    """Whether this process has started others that are not waited for."""
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False


def open_descriptors() -> set[tuple[str, str]]:
    """The open files of this process that have a state, by number, where /proc shows them."""
    descriptors: set[tuple[str, str]] = set()
    with suppress(OSError):
        for entry in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # that of the listing itself is closed by now
                descriptors.add((entry, os.readlink(f"/proc/self/fd/{entry}")))
    stateless = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}
    return {(number, target) for number, target in descriptors if target not in stateless}


def shared_memory() -> set[str]:
    """The places of memory that this process would share with those that it forks."""
    with suppress(OSError), open("/proc/self/maps") as lines:
        return {place for place, kind, *_ in map(str.split, lines) if kind.startswith("rw-s")}
    return set()
