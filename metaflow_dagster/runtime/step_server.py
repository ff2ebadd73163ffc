"""The program of a step server, which has Metaflow imported and forks a process for each task.

These functions run in a Python of their own, from their source. In the process of a task everything
is to be as if `python flow.py` had started it; nothing of the flow is imported before that.
"""

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


def serve_steps(control: Any) -> tuple[dict[str, Any], list[int]]:
    """Fork a process for each request that comes through a socket, until its other end is closed.

    Only in those processes this returns: with the request, and the files that came with it.
    """
    while True:
        request, files = next_request(control)
        if os.fork() == 0:
            control.close()
            fork_task(files)
            return request, files
        for file in files:
            os.close(file)
        reap()


def import_metaflow(directory: str) -> None:
    """Import what tasks use of Metaflow.

    `directory` is that of the flow, where Python would look for modules first. Metaflow's command
    line is left out: when imported, it takes options from the flow, as for Configs and parameters.
    """
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = directory
    for name in ("metaflow", "metaflow.task"):
        importlib.import_module(name)
    # Metaflow asks git for it in each process, for itself and for each extension, and remembers it.
    importlib.import_module("metaflow.metaflow_version").get_version()
    if os.path.isdir("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:
        os._exit(1)  # a fork would lose what another thread is about, and the locks it holds


def share_memory(shared: dict[str, Any]) -> None:
    """Keep memory shared with forked processes: the garbage collector looks through it no more.

    The modules that there are get into `shared`, which refers to itself, so that nothing ever
    frees them.
    """
    shared.update(sys.modules)
    for name in ("__main__", "builtins", "sys"):
        del shared[name]
    shared["shared"] = shared
    gc.collect()
    gc.freeze()


def leave_shared(shared: dict[str, Any]) -> None:
    """Let Python not clear the modules that a process shares with others when it ends.

    That would write to all of their memory, and take longer than a short step. It goes on to clear
    those of the user. What has been written to a file that only others refer to gets there before.
    """
    # Either somebody else calls the functions that are for the end, or a thread may hold a file.
    if any(thread.is_alive() for thread in threading.enumerate()):
        return
    for found in gc.get_objects():
        if isinstance(found, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            with suppress(OSError, ValueError):
                found.flush()
    for name, module in shared.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def changed_variables(before: dict[str, str]) -> dict[str, str]:
    """The variables in the environment that imports have set."""
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def next_request(control: Any) -> tuple[dict[str, Any], list[int]]:
    """The next request, a JSON object after its length, with the files to use.

    When there are no more, this process ends.
    """
    header, files, _flags, _address = socket.recv_fds(control, 8, 3, socket.MSG_WAITALL)
    length = int.from_bytes(header, "big")
    text = control.recv(length, socket.MSG_WAITALL) if length else b""
    if not length or len(text) < length:
        os._exit(0)
    return json.loads(text), list(files)


def fork_task(files: list[int]) -> None:
    """Fork the process of a task, in which this returns; the other one tells how that ends.

    That it is not the server who waits for the end lets a task go on when the server is gone.
    """
    if pid := os.fork():
        stdout, stderr, status = files
        os.close(stdout)
        os.close(stderr)
        ending = os.waitpid(pid, 0)[1]
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ending))
        os._exit(0)


def reap() -> None:
    """Let the processes that have waited for a task end."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def become_task(environment: dict[str, str], files: list[int], marker: str) -> None:
    """Make this process one like any that is started: its session, its environment, its output.

    Then its id is told, as what comes now is the user's own code. `marker` names the variable that
    is to be seen from outside.
    """
    os.setsid()
    stdout, stderr, status = files
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.environ.clear()
    os.environ.update(environment)
    show_variable(marker, environment[marker])
    os.write(status, b"%d\n" % os.getpid())
    for file in files:
        os.close(file)


def show_variable(name: str, value: str) -> None:
    """Let /proc show a variable in the environment of this process, if it is there already.

    What is shown is the memory that Linux has filled when the program was started, so the value
    must be as long as the one it takes the place of.
    """
    with suppress(OSError, ValueError):
        with open("/proc/self/stat", "rb") as text:
            start = int(text.read().rpartition(b")")[2].split()[47])  # proc(5): env_start
        with open("/proc/self/environ", "rb") as text:
            place = (b"\0" + text.read()).index(f"\0{name}=".encode()) + len(name) + 1
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start + place)
            memory.write(value.encode())


def execute_file(arguments: list[str], module: Any) -> None:
    """Execute a file as `python FILE …` does, in a module that was made for it."""
    sys.argv = arguments
    sys.orig_argv = [sys.executable, *arguments]
    importlib.invalidate_caches()
    code = code_of(module)
    try:
        exec(code, vars(module))
    # An error of the user's code, as Python shows it: without the lines around that code.
    except Exception as error:
        error.__traceback__ = lines = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error, lines)
        sys.exit(1)


def code_of(module: Any) -> Any:
    """The code of a module's file; a syntax error ends this process as it ends Python."""
    loader, file = module.__loader__, module.__file__
    try:
        return loader.source_to_code(loader.get_data(file), file)
    except SyntaxError as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        sys.exit(1)


def new_main(file: str) -> Any:
    """A new module `__main__` for a file, in which Metaflow will define some classes.

    They are found there by pickle (metaflow/tuple_util.py: namedtuple_with_defaults).
    """
    import types
    from importlib.machinery import SourceFileLoader

    attributes = vars(sys.modules["__main__"])
    module = types.ModuleType("__main__")
    vars(module).update({name: attributes[name] for name in attributes if name.startswith("__")})
    vars(module).update(
        __file__=file, __cached__=None, __loader__=SourceFileLoader("__main__", file)
    )
    sys.modules["__main__"] = module
    return module


def renewed(main: Any) -> Any:
    """A copy of the module `__main__` for one task, which Python takes apart when that ends.

    It leaves alone what was there before the fork, and sets its names to None one by one instead.
    """
    module = type(main)("__main__")
    vars(module).update(vars(main))
    sys.modules["__main__"] = module
    return module


def renew_random_numbers() -> None:
    """Give a task random numbers of its own in numpy, as Python does it in each forked process."""
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
