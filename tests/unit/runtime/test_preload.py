"""Modules that a step server imports, and what a process that is forked from it has of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from metaflow_dagster.runtime import preload
from metaflow_dagster.runtime.guard import PROCESS_VARIABLE, members
from metaflow_dagster.runtime.preload import PreloadedModules
from metaflow_dagster.runtime.starting import fresh_process
from metaflow_dagster.runtime.warm import ForkedProcess, StepServer, read_too_early
from tests.unit.runtime.test_guard import comes_true, is_alive
from tests.unit.runtime.test_warm import STATE, Steps, environment

pytestmark = pytest.mark.slow

# What is imported, and what is said of the module if that is left out.
MODULES = {
    "plain": ("import os, sys; NUMBER, PLACE = 1, (os.getpid(), os.getcwd(), *sys.argv)", ""),
    "package.inner": ("from plain import NUMBER", ""),
    "wrong": ("import plain\nraise ValueError('not\\n here')", "ValueError: not here"),
    "absent": (None, "ModuleNotFoundError: No module named 'absent'"),
    "no_python": ("def", "SyntaxError: "),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "kills": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "its import ends the process, with exit code -11",
    ),
    "exits": ("import os; os._exit(0)", "its import ends the process, with exit code 0"),
    "hangs": ("import time; time.sleep(100)", "its import takes more than 2 seconds"),
    "thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=[100], daemon=True).start()",
        "it has started 1 thread, which a fork would lose",
    ),
    "raw_threads": (
        "import _thread, time\nfor _ in range(2): _thread.start_new_thread(time.sleep, (100,))",
        "it has started 2 threads, which a fork would lose",
    ),
    "memory": (
        "import _thread, threading, time\n"
        "def free():\n"
        "    place = f'/proc/self/task/{threading.get_native_id()}/comm'\n"
        "    open(place, 'w').write('jemalloc_bg_thd')\n"
        "    time.sleep(100)\n"
        "_thread.start_new_thread(free, ())\ntime.sleep(0.1)",
        "",
    ),
    "ended_thread": (
        "import threading; one = threading.Thread(target=print); one.start(); one.join()",
        "",
    ),
    "process": (
        "import subprocess; CHILD = subprocess.Popen(['sleep', '100'])\n"
        "open('child', 'w').write(str(CHILD.pid))",
        "it has started a process, which all tasks would share",
    ),
    "connection": (
        "import socket; PAIR = socket.socketpair()",
        "it has opened socket:[",
    ),
    "opened_file": ("FILE = open(__file__)", "it has opened /"),
    "waiter": ("import select; POLL = select.epoll()", "it has opened anon_inode:"),
    "lock": (
        "import multiprocessing; LOCK = multiprocessing.Lock()",
        "it has made a lock or memory that all tasks would share",
    ),
    "shared": (
        "import mmap; MEMORY = mmap.mmap(-1, 10)",
        "it has made a lock or memory that all tasks would share",
    ),
    "temporary": (
        "import tempfile; PLACE = tempfile.TemporaryDirectory()",
        "it removes files when a process ends",
    ),
    "removing": (
        "import atexit, shutil; atexit.register(shutil.rmtree, 'scratch', True)",
        "it removes files when a process ends",
    ),
    "exiting": ("import atexit; atexit.register(len, '')", ""),
    "command_line": (
        "import metaflow.cli",
        "it imports Metaflow's command line, which has to know the flow first",
    ),
    "sets": ("import os; os.environ['SET_BY_MODULE'] = 'yes'", ""),
    "seeds": ("import random, numpy.random; numpy.random.seed(1); random.seed(1)", ""),
}


def write_modules(directory: Path) -> None:
    for name, (source, _fault) in MODULES.items():
        file = directory.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        if source is not None:
            count = f"open({str(directory / 'imports')!r}, 'a').write({name!r} + '\\n')"
            file.write_text(f"{count}\n{source}\n")


def new_server(file: Path, *names: str) -> StepServer:
    variables = environment(**{PROCESS_VARIABLE: "0" * 32})
    return StepServer(str(file), str(file.parent), variables, PreloadedModules(names))


class Said:
    """What is said of modules that are left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left_out: dict[str, str] = {}
        monkeypatch.setattr(preload, "log_left_out", self.left_out.update)


@pytest.fixture(scope="module")
def patches() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@pytest.fixture(scope="module")
def said(patches: pytest.MonkeyPatch) -> Said:
    patches.setattr(preload, "SECONDS_TO_IMPORT", 2)
    return Said(patches)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, said: Said) -> Iterator[Steps]:
    """A flow, and a server that imports all of the modules."""
    file = tmp_path_factory.mktemp("preload") / "flow.py"
    file.write_text("")
    write_modules(file.parent)
    server = new_server(file, *MODULES)
    steps = Steps(file, server.start_process)
    assert steps.run(steps.warm, "pass").returncode == 0
    yield steps
    server.close()


def test_what_is_left_out(steps: Steps, said: Said) -> None:
    expected = {name: fault for name, (_source, fault) in MODULES.items() if fault}
    assert said.left_out.keys() == expected.keys()
    for name, fault in expected.items():
        assert said.left_out[name].startswith(fault), name


def test_modules_are_imported_before(steps: Steps) -> None:
    code = """
        import os, plain, sys
        names = {'plain', 'wrong', 'absent', 'thread', 'package.inner', 'sets', 'numpy'}
        print(sorted(names & sys.modules.keys()), plain.PLACE[0] != os.getpid(), plain.PLACE[1:])
    """
    ended = steps.run(steps.warm, code)
    place = (str(steps.file.parent), str(steps.file))
    assert ended.stdout == f"{['numpy', 'package.inner', 'plain', 'sets']} True {place}\n"


def test_modules_do_not_see_the_flow_as_imported(steps: Steps) -> None:
    assert steps.both("import plain, package.inner; print(package.inner.NUMBER)").stdout == "1\n"


def test_what_a_module_has_started_is_gone(steps: Steps) -> None:
    child = int((steps.file.parent / "child").read_text())
    assert comes_true(lambda: not is_alive(child), 5)


def test_variables_that_a_module_has_set(steps: Steps) -> None:
    assert steps.both("import os, sets; print(os.environ['SET_BY_MODULE'])").stdout == "yes\n"


def test_state_of_the_process(steps: Steps) -> None:
    code = f"import plain, sets, ended_thread, package.inner, seeds\n{dedent(STATE)}"
    ended = [steps.run(start, code) for start in (fresh_process, steps.warm)]
    fresh, forked = (json.loads(each.stdout[each.stdout.index("{") :]) for each in ended)
    assert {name for name in fresh if fresh[name] != forked[name]} == set()


def test_random_numbers_are_not_the_same(steps: Steps) -> None:
    code = "import numpy, random; print(numpy.random.random(), random.random())"
    numbers = [steps.run(steps.warm, code).stdout.split() for _ in range(3)]
    assert all(len(set(column)) == 3 for column in zip(*numbers, strict=True))


def test_another_environment_needs_a_fresh_python(steps: Steps) -> None:
    code = "import plain, os; print(plain.PLACE[0] == os.getpid())"
    assert steps.run(steps.warm, code).stdout == "False\n"
    assert steps.run(steps.warm, code, OMP_NUM_THREADS="1").stdout == "True\n"
    assert steps.run(steps.warm, code, METAFLOW_RUN_ID="dagster-1").stdout == "False\n"
    assert read_too_early({}, {"OMP_NUM_THREADS": "1"}) == []
    assert read_too_early({}, {"OMP_NUM_THREADS": "1"}, PreloadedModules(["numpy"])) == [
        "OMP_NUM_THREADS"
    ]


def test_each_is_imported_once(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload, "SECONDS_TO_IMPORT", 1)  # which the server lives on after
    record = steps.file.parent / "imports"
    record.unlink()
    server = new_server(steps.file, "plain", "package.inner", "plain")
    code = "import plain, package.inner, os, time; time.sleep(0.6); print(os.getpid())"
    for _ in range(3):
        process = steps.started(server.start_process, code)
        assert isinstance(process, ForkedProcess)
        assert process.wait() == 0
    server.close()
    assert record.read_text().split() == ["plain", "package.inner"]
    assert comes_true(lambda: not is_alive(server.process.pid), 5)


@pytest.mark.parametrize("module", ["hangs", "plain"])
def test_server_ends_while_it_imports(steps: Steps, module: str) -> None:
    server = new_server(steps.file, module)
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    assert comes_true(lambda: bool(Path(children).read_text()), 20)
    child = int(Path(children).read_text())
    server.process.kill()
    server.close()
    assert comes_true(lambda: not is_alive(child), 10)


def test_task_starts_afresh_when_the_server_is_killed(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    server = new_server(steps.file, "plain")
    assert steps.run(server.start_process, "pass").returncode == 0
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    server.process.wait(5)
    later = steps.started(server.start_process, "print('later')")
    assert "the process from which they are forked has ended" in capsys.readouterr().err
    assert not isinstance(later, ForkedProcess)
    assert later.wait() == 0
    server.close()


THREADS_OF_NUMPY = """
import os, numpy, plain
numbers = numpy.ones((300, 300))
print((numbers @ numbers).sum(), plain.PLACE[0] == os.getpid())
"""


def test_threads_of_numpy_do_not_matter(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    # OpenBLAS has threads from the start, ends them at a fork, and starts them when it has to.
    said = Said(monkeypatch)
    server = new_server(steps.file, "numpy", "plain")
    for _ in range(2):
        ended = steps.run(server.start_process, THREADS_OF_NUMPY)
        assert (ended.returncode, ended.stdout) == (0, "27000000.0 False\n")
    server.close()
    assert said.left_out == {}


@pytest.mark.parametrize("is_killed", [False, True], ids=["by its executor", "with the run"])
def test_import_ends_with_the_server(is_killed: bool, tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    (tmp_path / "slow.py").write_text("import time; open('begun', 'w'); time.sleep(100)")
    server = new_server(file, "slow")
    assert comes_true((tmp_path / "begun").exists, 30)
    if is_killed:
        server.control.close()  # which is all that the server gets to see of it
        assert comes_true(lambda: members({"NO_MARKER=": server.process.pid}) == [], 5)
    server.close()
    assert members({"NO_MARKER=": server.process.pid}) == []
