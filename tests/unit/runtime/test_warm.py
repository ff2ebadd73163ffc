"""A process that a step server has forked is like one that `python flow.py` has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from metaflow_dagster.runtime.command import process_environment
from metaflow_dagster.runtime.guard import PROCESS_VARIABLE, members
from metaflow_dagster.runtime.preload import PreloadedModules
from metaflow_dagster.runtime.settings import FRESH_PYTHON
from metaflow_dagster.runtime.starting import StartProcess, StepProcess, fresh_process
from metaflow_dagster.runtime.warm import (
    ForkedProcess,
    StepServer,
    read_too_early,
    server_program,
    warm_processes,
)
from tests.unit.runtime.test_guard import comes_true, is_alive
from tests.unit.samples import settings_of

pytestmark = pytest.mark.slow

MARKER = uuid.uuid4().hex  # of these tests in this process: others may run at the same time
DAEMON_MARKER = uuid.uuid4().hex
ARGUMENTS = ["--quiet", "step", "start", "--tag=a b", "--tag=", "--tag=ü"]


def environment(**extra: str) -> dict[str, str]:
    variables = process_environment(settings_of(), extra)
    variables.pop("PYTEST_CURRENT_TEST", None)  # which pytest changes all the time
    return variables


@dataclass(frozen=True)
class Ended:
    """What is seen of a process from outside."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Steps:
    """A flow's file, which is rewritten as need be, and the two ways to run it."""

    file: Path
    warm: StartProcess

    def started(self, start: StartProcess, code: str, **extra: str) -> StepProcess:
        """Start code as the flow's file."""
        self.file.write_text(dedent(code), encoding="utf-8")
        command = [sys.executable, str(self.file), *ARGUMENTS]
        return start(
            command, environment(**{PROCESS_VARIABLE: MARKER, **extra}), str(self.file.parent)
        )

    def run(self, start: StartProcess, code: str, **extra: str) -> Ended:
        """Run code as the flow's file to its end."""
        process = self.started(start, code, **extra)
        assert process.stdout is not None
        assert process.stderr is not None
        texts = process.stdout.read().decode(), process.stderr.read().decode()
        return Ended(process.wait(), *texts)

    def both(self, code: str, **extra: str) -> Ended:
        """How code ends in a forked process, which is how it ends in a fresh one."""
        fresh, forked = (self.run(start, code, **extra) for start in (fresh_process, self.warm))
        assert forked == fresh
        return forked


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    file = tmp_path_factory.mktemp("warm") / "flow.py"
    file.write_text("")
    with warm_processes(settings_of(file=str(file)))() as start_process:
        yield Steps(file, start_process)


def test_task_is_forked(steps: Steps) -> None:
    code = "import sys; sys.stdout.write(open('/proc/self/cmdline').read().split('\\0')[1])"
    assert steps.run(steps.warm, code).stdout == "-c"
    assert steps.run(fresh_process, code).stdout == str(steps.file)


STATE = """
    import faulthandler, gc, json, locale, os, pathlib, resource, signal, sys, tempfile, threading
    import metaflow, metaflow.cli_components.step_cmd
    umask = os.umask(0)
    os.umask(umask)
    print(json.dumps({
        "main": sorted(vars(sys.modules["__main__"])),
        "dunders": [repr(vars(sys.modules["__main__"]).get(name)) for name in (
            "__name__", "__file__", "__doc__", "__package__", "__spec__", "__cached__",
        )],
        "loader": [type(__loader__).__name__, __loader__.name, __loader__.path],
        "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": str(sys.flags),
        "warnings": [sys.warnoptions, len(__import__("warnings").filters)],
        "hooks": sys.excepthook is sys.__excepthook__, "limit": sys.getrecursionlimit(),
        "frames": len(__import__("inspect").stack()) <= 4,
        "environment": dict(os.environ), "shown": [
            one for one in open("/proc/self/environ").read().split(chr(0)) if "R_PROCESS" in one],
        "leader": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "umask": umask, "directory": os.getcwd(), "stdin": sys.stdin.read(),
        "streams": [
            [one.encoding, one.errors, one.line_buffering, one.write_through, one.isatty(),
             one.seekable(), one.newlines, one.name, type(one.buffer).__name__, one.fileno()]
            for one in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "signals": [[one, repr(signal.getsignal(one))] for one in signal.valid_signals()],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "files": sorted(os.listdir("/proc/self/fd"))[:-1],
        "threads": [one.name for one in threading.enumerate()],
        "is_main": threading.main_thread() is threading.current_thread(),
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "locale": [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding()],
        "limits": [resource.getrlimit(one) for one in range(10)],
        "nice": os.nice(0), "faults": faulthandler.is_enabled(), "temporary": tempfile.tempdir,
    }, indent=1, default=repr))
"""


def test_state_of_the_process(steps: Steps) -> None:
    variables = {"METAFLOW_RUN_ID": "dagster-1", "MY_VARIABLE": "a\nb"}
    ended = [steps.run(start, STATE, **variables) for start in (fresh_process, steps.warm)]
    fresh, forked = (json.loads(each.stdout) for each in ended)
    assert forked["environment"]["MY_VARIABLE"] == "a\nb"
    assert {name for name in fresh if fresh[name] != forked[name]} == set()


@pytest.mark.parametrize(
    ("code", "returncode"),
    [
        ("import sys; print('out'); print('err', file=sys.stderr)", 0),
        ("raise SystemExit", 0),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('a message')", 1),
        ("import sys; sys.exit(202)", 202),
        ("import os; print('lost'); os._exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11),
        ("def f(n):\n    return f(n - 1) if n else 1 / 0\nf(3)", 1),
        ("import sys\nsys.excepthook = lambda *_: print('mine')\nraise ValueError", 1),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError from error", 1),
        ("raise ExceptionGroup('all', [ValueError('ü'), OSError(2)])", 1),
        ("print('no end of it'", 1),
        ("# -*- coding: latin-1 -*-\nprint('\xc3\xbc')", 0),
        ("import atexit; atexit.register(print, 'last'); raise ValueError", 1),
        ("import threading; threading.Timer(0.1, print, ['late']).start(); print('early')", 0),
        ("import threading; threading.Thread(target=lambda: 1 / 0, name='t').start()", 0),
        ("import sys; sys.stdout.close(); print('x')", 1),
        ("import sys; print(sys.stdin.read(), input())", 1),
        ("import no_such_module", 1),
        ("import os; os.abort()", -6),
    ],
)
def test_end_of_the_process(steps: Steps, code: str, returncode: int) -> None:
    if "ExceptionGroup" in code and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brings exception groups")
    assert steps.both(code).returncode == returncode


def test_interrupt(steps: Steps) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    fresh, forked = steps.run(fresh_process, code), steps.run(steps.warm, code)
    assert forked.returncode == fresh.returncode == -signal.SIGINT
    assert forked.stderr.endswith("\nKeyboardInterrupt\n")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_the_user(steps: Steps, method: str) -> None:
    code = f"""
        import multiprocessing, os

        def square(n):
            return n * n, __name__

        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                print(pool.map(square, range(4)))
            print(multiprocessing.parent_process(), multiprocessing.current_process().name)
    """
    name = "__main__" if method == "fork" else "__mp_main__"
    assert steps.both(code).stdout.startswith(f"[(0, '{name}'), (1, '{name}'), ")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            """
            import asyncio

            async def main():
                process = await asyncio.create_subprocess_exec("echo", "a", stdout=-1)
                told = await process.stdout.read()
                return told, await process.wait(), await asyncio.to_thread(str, 1)

            print(asyncio.run(main()))
            """,
            id="asyncio",
        ),
        pytest.param(
            """
            import os
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
            with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2) as processes:
                print(*threads.map(abs, [-1, -2]), *processes.map(abs, [-3, -4]))
            """,
            id="pools",
        ),
        pytest.param(
            """
            import subprocess, sys
            print(subprocess.run(["cat"], input=b"a", capture_output=True), flush=True)
            subprocess.run([sys.executable, "-c", "print(__name__)"], check=True)
            with subprocess.Popen("exit 3", shell=True, start_new_session=True) as process:
                pass
            print(process.returncode)
            """,
            id="subprocess",
        ),
        pytest.param(
            """
            import logging, metaflow
            root = logging.getLogger()
            print(root.level, root.handlers, logging.root.manager.disable, logging.lastResort)
            print(sorted((n, o.level) for n, o in root.manager.loggerDict.items()
                         if isinstance(o, logging.Logger) and (o.level or o.handlers)))
            logging.getLogger("a").warning("seen")
            logging.basicConfig(level="INFO", format="%(message)s")
            logging.info("seen, too")
            """,
            id="logging",
        ),
        pytest.param(
            """
            import faulthandler, sys, tracemalloc
            print(tracemalloc.is_tracing(), faulthandler.is_enabled())
            tracemalloc.start(); faulthandler.enable()
            kept = bytearray(10**6)
            print(tracemalloc.get_traced_memory()[0] > 10**6, sys.gettrace(), sys.getprofile())
            """,
            id="tracing",
        ),
        pytest.param(
            """
            import warnings, metaflow
            warnings.warn("seen")
            warnings.warn("seen in __main__ alone", DeprecationWarning)
            print(len(warnings.filters), [*map(str, vars().get("__warningregistry__", {}))])
            """,
            id="warnings",
        ),
        pytest.param(
            """
            import signal, os, time
            signal.signal(signal.SIGTERM, lambda *_: print("told to end"))
            signal.alarm(30)
            os.kill(os.getpid(), signal.SIGTERM)
            print(signal.alarm(0) > 20, signal.getitimer(signal.ITIMER_REAL))
            """,
            id="signals",
        ),
        pytest.param(
            """
            import pickle
            from metaflow import FlowSpec

            class Own:
                pass

            print(pickle.loads(pickle.dumps(Own)) is Own, Own.__module__, Own.__qualname__)
            """,
            id="pickle",
        ),
    ],
)
def test_behaves_as_in_a_python_of_its_own(steps: Steps, code: str) -> None:
    assert steps.both(code).returncode == 0


def test_random_numbers_are_not_the_same(steps: Steps) -> None:
    code = """
        import random, secrets, ssl, tempfile, uuid
        print(random.random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1(), tempfile.mktemp())
        print(ssl.RAND_bytes(16).hex(), random.SystemRandom().random())
    """
    numbers = [steps.run(steps.warm, code).stdout.split() for _ in range(3)]
    assert all(len(set(column)) == 3 for column in zip(*numbers, strict=True))


def test_classes_of_metaflow_are_found_by_pickle(steps: Steps) -> None:
    code = """
        import pickle
        from metaflow.task import ForeachFrame
        print(pickle.loads(pickle.dumps(ForeachFrame("a", "b", 3, 0))), ForeachFrame.__module__)
    """
    assert "ForeachFrame" in steps.both(code).stdout


# What Metaflow finds in the class of the flow when it imports its command line.
OPTIONS = {
    "init --run-id=1 --task-id=1 --size=x": "'--size': x is not a valid integer",
    "--config-value limits x show": "configuration value for 'limits' is not valid JSON",
    "--branch=a/b show": "The branch name must contain only lowercase alphanumeric",
}


@pytest.mark.parametrize("arguments", OPTIONS)
def test_command_line_has_the_options_of_the_flow(steps: Steps, arguments: str) -> None:
    code = f"""
        import sys
        from metaflow import Config, FlowSpec, Parameter, project, step

        @project(name="atlas")
        class OptionsFlow(FlowSpec):
            limits = Config("limits", default_value={{}})
            size = Parameter("size", default=1)

            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass

        if __name__ == "__main__":
            sys.argv[1:] = {["--quiet", "--no-pylint", *arguments.split()]!r}
            OptionsFlow()
    """
    assert OPTIONS[arguments] in steps.both(code).stderr


def test_source_is_that_of_now(steps: Steps) -> None:
    helper = steps.file.with_name("helper_of_flow.py")
    code = "import helper_of_flow, inspect; print(inspect.getsource(helper_of_flow))"
    for text in ("A = 1\n", "A = 22\n"):
        helper.write_text(text)
        assert steps.both(code).stdout == f"{text}\n"


@pytest.mark.parametrize(
    "name", ["PYTHONHASHSEED", "METAFLOW_DEBUG_SUBCOMMAND", "LC_ALL", "TZ", FRESH_PYTHON]
)
def test_what_is_read_early_needs_a_fresh_python(steps: Steps, name: str) -> None:
    code = (
        f"import os; print(open('/proc/self/cmdline').read().split('\\0')[1], os.environ[{name!r}])"
    )
    assert steps.run(steps.warm, code, **{name: "0"}).stdout == f"{steps.file} 0\n"


def test_variables_that_are_read_too_early() -> None:
    assert read_too_early({"A": "1"}, {"A": "2", "METAFLOW_INIT_X": "3"}) == []
    assert read_too_early({}, {"METAFLOW_PRODUCTION_TOKEN": "t", "METAFLOW_OWNER": "ann"}) == []
    assert read_too_early({}, {"METAFLOW_DAGSTER_RUN_ID": "x"}) == []
    assert read_too_early({"LD_PRELOAD": "x", "TZ": "UTC"}, {}) == ["LD_PRELOAD", "TZ"]
    assert read_too_early({"METAFLOW_USER": "ann"}, {"METAFLOW_USER": "bob"}) == ["METAFLOW_USER"]


def test_reason_of_a_fresh_python_is_told_once(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    server = new_server(steps)
    try:
        for name, value in [("TZ", "UTC"), ("TZ", "CET"), (FRESH_PYTHON, "1")]:
            steps.run(server.start_process, "pass", **{name: value})
    finally:
        server.close()
    start = "Steps start with a Python of their own where"
    assert capsys.readouterr().err == (
        f"{start} TZ is not as in the run's process.\n"
        f"{start} {FRESH_PYTHON} is not as in the run's process.\n"
    )


@pytest.mark.parametrize("reason", ["by its environment", "by its platform"])
def test_run_without_a_step_server(
    steps: Steps, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "by its environment":
        monkeypatch.setenv(FRESH_PYTHON, "1")
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
    with warm_processes(settings_of(file=str(steps.file)))() as start_process:
        assert start_process is fresh_process


END_OF_PROCESS = """
    import atexit, json, os, sys, threading

    class Leaving:
        def __init__(self, name):
            self.name = name
        def __del__(self):
            os.write(1, self.name.encode())

    def kept_file(module, name):
        file = open(f"{os.environ['FILES']}-{name}", "w")
        file.write(name)
        module.file = file

    mine = Leaving("mine ")
    cycle = [Leaving("cycle ")]
    cycle.append(cycle)
    kept_file(sys.modules["__main__"], "main")
    kept_file(json, "json")
    atexit.register(lambda: os.write(1, f"{'json' in sys.modules} ".encode()))
"""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("", id="alone"),
        pytest.param(
            "atexit._run_exitfuncs(); import json as again; assert again is json", id="called"
        ),
        pytest.param(
            "reading, writing = os.pipe(); full = open(writing, 'wb'); threading.Thread("
            "target=full.write, args=[bytes(2**20)], daemon=True).start()",
            id="thread that holds a file",
        ),
    ],
)
def test_what_belongs_to_a_task_ends_with_it(steps: Steps, more: str, tmp_path: Path) -> None:
    code = f"{dedent(END_OF_PROCESS)}{more}"
    files = tmp_path / "file"
    ended = steps.both(code, FILES=str(files))
    assert sorted(ended.stdout.split()) == ["True", "cycle", "mine"]
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "file-main": "main",
        "file-json": "json",
    }


def test_what_tasks_share_is_not_cleared_when_one_ends(steps: Steps) -> None:
    code = """
        import json, os

        class Leaving:
            def __del__(self, write=os.write):
                write(1, b"cleared")

        json.held = Leaving()
    """
    assert steps.run(fresh_process, code).stdout == "cleared"
    assert steps.run(steps.warm, code).stdout == ""


def test_daemons_are_found_by_their_marker(steps: Steps) -> None:
    code = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print(os.getpid(), flush=True)
                time.sleep(100)
            os._exit(0)
    """
    process = steps.started(steps.warm, code, **{PROCESS_VARIABLE: DAEMON_MARKER})
    assert process.stdout is not None
    daemon = int(process.stdout.readline())
    try:
        process.wait()
        assert members({f"{PROCESS_VARIABLE}={DAEMON_MARKER}": process.pid}) == [daemon]
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_version_is_known_without_git(steps: Steps) -> None:
    code = """
        import metaflow.metaflow_version as module
        print(module._version_cache[False] == module.get_version())
    """
    assert steps.run(steps.warm, code).stdout == "True\n"
    assert steps.run(fresh_process, code).stdout == "False\n"


SLOW = "import time; print('begun', flush=True); time.sleep(1); print('done')"


def new_server(steps: Steps, **extra: str) -> StepServer:
    variables = environment(**{PROCESS_VARIABLE: "0" * 32, **extra})
    return StepServer(str(steps.file), str(steps.file.parent), variables)


def test_task_goes_on_when_the_server_is_killed(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    server = new_server(steps)
    running = steps.started(server.start_process, SLOW)
    assert running.stdout is not None
    assert running.stdout.readline() == b"begun\n"
    server.process.kill()
    server.process.wait()
    assert running.stdout.read() == b"done\n"
    assert running.wait() == 0
    later = steps.started(server.start_process, "print('later')")
    assert "the process from which they are forked has ended" in capsys.readouterr().err
    assert not isinstance(later, ForkedProcess)
    assert later.wait() == 0
    server.close()


def test_task_is_given_up_when_nobody_will_know_its_end(steps: Steps) -> None:
    code = "import os, time; print(os.getppid(), flush=True); time.sleep(100)"
    process = steps.started(steps.warm, code)
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not is_alive(process.pid)


def test_server_ends_with_its_run(steps: Steps) -> None:
    server = new_server(steps)
    running = steps.started(server.start_process, SLOW)
    server.close()
    assert running.wait() == 0
    assert not is_alive(server.process.pid)


def test_many_at_once(steps: Steps) -> None:
    processes = [steps.started(steps.warm, SLOW) for _ in range(20)]
    started = time.monotonic()
    assert [process.wait() for process in processes] == [0] * 20
    assert time.monotonic() - started < 15
    assert comes_true(lambda: not any(is_alive(process.pid) for process in processes), 5)


def test_flow_that_is_not_there() -> None:
    with warm_processes(settings_of(file="/none/flow.py"))() as start_process:
        assert start_process is fresh_process


def test_server_starts_before_the_run_has_its_resources(tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    serving = warm_processes(settings_of(file=str(file)))
    assert serving().server is None  # what is not there yet may come out of the datastore
    file.write_text("")
    with serving() as start_process, serving() as other:
        assert start_process.__self__.process.pid != other.__self__.process.pid
    begun = serving()
    assert begun.server.process.poll() is None
    with begun as start_process:
        assert start_process == begun.server.start_process
    assert begun.server.process.poll() == 0


def test_server_that_hangs(steps: Steps) -> None:
    server = new_server(steps)
    server.process.send_signal(signal.SIGSTOP)
    server.close()
    assert server.process.returncode == -signal.SIGKILL


def test_metaflow_that_cannot_be_imported(steps: Steps, capfd: pytest.CaptureFixture[str]) -> None:
    (steps.file.parent / "metaflow.py").write_text("raise ImportError('broken here')")
    try:
        server = new_server(steps, METAFLOW_DEFAULT_DATASTORE="none")
        command = [sys.executable, "-c", "print(1)"]
        process = server.start_process(command, server.environment, str(steps.file.parent))
        assert not isinstance(process, ForkedProcess)
        server.close()
    finally:
        (steps.file.parent / "metaflow.py").unlink()
    said = capfd.readouterr().err
    assert "broken here" in said
    assert "the process from which they are forked has ended" in said


@pytest.mark.parametrize("preload", [None, PreloadedModules(["a"])], ids=["alone", "preload"])
def test_program_of_the_server_defines_every_name(preload: PreloadedModules | None) -> None:
    # The socket is there before. Nor does it import what it does not use.
    program = f"control = None\n{server_program('/a/flow.py', preload)}"
    rules = [
        "--isolated",
        "--select=E9,F401,F811,F821",
        "--ignore=F404,E402",
        "--output-format=concise",
    ]
    command = [sys.executable, "-m", "ruff", "check", *rules, "-"]
    result = subprocess.run(command, input=program, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
