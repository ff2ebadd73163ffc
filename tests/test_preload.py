"""Modules that are imported once a run, in runs that `dagster job execute` runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from dagster import DagsterInstance

from tests.support import differences
from tests.test_warm import NOT_COMPARED, WarmRun, execute, step_of

pytestmark = pytest.mark.slow

FLOW = """
from __future__ import annotations
import os
from metaflow import FlowSpec, environment, step
import heavy
import threading_one
from heavy_package import inner
try:
    import raising
except ValueError:
    raising = None

class PreloadedFlow(FlowSpec):
    @step
    def start(self):
        self.items = list(range(4))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.result = heavy.double(self.input)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = [one.result for one in inputs]
        self.next(self.single)

    @environment(vars={"OMP_NUM_THREADS": "1"})
    @step
    def single(self):
        self.threads = os.environ["OMP_NUM_THREADS"]
        self.next(self.end)

    @step
    def end(self):
        self.state = raising, threading_one.THREAD.is_alive(), inner.NAME

if __name__ == "__main__":
    PreloadedFlow()
"""

RECORD = "import os, time\nopen(os.environ['RECORD'], 'a').write(f'{__name__} {os.getpid()}\\n')\n"
MODULES = {
    "heavy.py": "time.sleep(0.5)\ndef double(number):\n    return 2 * number\n",
    "heavy_package/__init__.py": "",
    "heavy_package/inner.py": "NAME = __name__\n",
    "raising.py": "raise ValueError('not today')\n",
    "threading_one.py": "import threading\n"
    "THREAD = threading.Thread(target=time.sleep, args=[1000], daemon=True)\nTHREAD.start()\n",
}
PROCESSES = 9  # of eight tasks, and `init`
IMPORTED_ONCE = "heavy", "heavy_package", "heavy_package.inner"


def run_flow(directory: Path, *options: str) -> WarmRun:
    """Run the flow with the modules in a place where they are no part of it."""
    site, flow = directory / "site", directory / "flow"
    for name, source in MODULES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(RECORD + source)
    flow.mkdir()
    record = directory / "record"
    variables = {"RECORD": str(record)}
    return execute(flow, "PreloadedFlow", FLOW, *options, path=str(site), variables=variables)


def warnings_of(run: WarmRun) -> list[str]:
    with DagsterInstance.from_config(str(run.project.home)) as instance:
        entries = instance.all_logs(run.run.dagster_run_id)
    return [entry.user_message for entry in entries if "--preload" in entry.user_message]


def imports_of(directory: Path) -> Counter[str]:
    """How many processes have imported each module, next to the one that has compiled the flow."""
    lines = (directory / "record").read_text().splitlines()
    assert len({*lines}) == len(lines)
    counted = Counter(line.split()[0] for line in lines)
    counted.subtract(dict.fromkeys(counted, 1))
    return counted


def test_modules_are_imported_once_a_run(tmp_path: Path) -> None:
    run = run_flow(tmp_path, "--preload=heavy", "--preload=heavy_package.inner")
    imports = imports_of(tmp_path)
    # And in the step whose variables they have to see.
    assert {imports[name] for name in IMPORTED_ONCE} == {2}
    assert imports["threading_one"] == PROCESSES
    assert list(map(step_of, run.afresh)) == ["single"]
    assert warnings_of(run) == []
    native = run.project.snapshot(run.project.run_natively(), NOT_COMPARED)
    assert differences(native, run.snapshot) == []


def test_modules_that_cannot_be_shared_are_left_out(tmp_path: Path) -> None:
    run = run_flow(tmp_path, "--preload=auto", "--preload=raising")
    modules = '("heavy", "threading_one", "heavy_package.inner", "raising")'
    assert modules in run.project.definitions.read_text()
    assert run.snapshot.tasks["end"][()].artifacts["state"] == (None, True, "heavy_package.inner")
    assert list(map(step_of, run.afresh)) == ["single"]
    imports = imports_of(tmp_path)
    assert imports["threading_one"] == imports["raising"] == PROCESSES + 1
    # Those that were imported before one of them are imported again after it.
    assert [imports[name] for name in IMPORTED_ONCE] == [4, 3, 3]
    assert warnings_of(run) == [
        "--preload threading_one is left out, so each task imports that itself: it has started 1 "
        "thread, which a fork would lose.",
        "--preload raising is left out, so each task imports that itself: ValueError: not today.",
    ]
