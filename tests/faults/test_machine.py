"""The machine that runs a flow is out of order, or what it keeps its data in."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.waiting import assert_not_done, assert_whole, waiting_project, waiting_run
from tests.services.clock import new_clock
from tests.services.gate import gate_before
from tests.services.installed import missing
from tests.services.reader import read_elsewhere
from tests.services.s3 import S3

pytestmark = pytest.mark.slow

SECONDS_AWAY = 10
HOUR = 3600


def test_datastore_cannot_be_reached(tmp_path: Path, s3: S3) -> None:
    """S3 refuses all connections for 10 seconds. Metaflow tries again for about two minutes, within
    the same attempt of the task, and the run succeeds."""
    credentials = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester"}
    with gate_before(s3.endpoint) as gate:
        settings = {**s3.settings, **credentials, "METAFLOW_S3_ENDPOINT_URL": gate.url}
        project = waiting_project(tmp_path, **settings)
        with waiting_run(project) as run:
            gate.close()
            run.let_go()
            time.sleep(SECONDS_AWAY)
            assert run.process.poll() is None
            gate.open()
            assert run.ended() == 0
        assert project.counted() == ["wait/wait"]
        settings["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = str(tmp_path)
        path = f"WaitingFlow/{project.dagster_run().metaflow_run_id}"
        found = read_elsewhere(path, settings).snapshot
    assert found.successful
    (wait,), (measure,) = found.tasks["wait"].values(), found.tasks["measure"].values()
    assert measure.artifacts["measured"] == len(wait.artifacts["made"])


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """Have a small file system in memory at a directory for a while, with what was in it."""
    if os.geteuid():
        missing("A user who may mount a file system")
    files = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    options = ["-t", "tmpfs", "-o", "size=4m"]
    subprocess.run(["mount", *options, "tmpfs", directory], check=True)
    try:
        for file, content in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(file: Path) -> None:
    """Write to a file until there is no room left for a single byte."""
    with suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_disk_is_full(tmp_path: Path) -> None:
    """A task whose results find no room fails, and the run with it. When there is room again, the
    run is re-executed from its failure."""
    project = waiting_project(tmp_path, size=100_000)
    datastore = tmp_path / ".metaflow"
    with small_disk(datastore):
        with waiting_run(project) as run:
            fill(datastore / "ballast")
            run.let_go()
            assert run.ended() != 0
        failed = project.dagster_run()
        assert any("No space left" in failure for failure in failed.failures), failed.failures
        (datastore / "ballast").unlink()
        assert_not_done(project, failed.metaflow_run_id)
        again = project.run(after=failed.dagster_run_id)
        assert again.succeeded, again.failures
        assert again.metaflow_run_id == failed.metaflow_run_id
        assert_whole(project, again.metaflow_run_id)


@pytest.mark.parametrize("executor", ["threads", "multiprocess"])
def test_clock_is_set_back(tmp_path: Path, executor: str) -> None:
    """Nothing happens to the run, but the times that Dagster shows of it are odd."""
    from metaflow import Run

    project = waiting_project(tmp_path, f"--executor={executor}")
    clock = new_clock(tmp_path)
    begun = time.time()
    with waiting_run(project, **clock.environment) as run:
        clock.set(-HOUR)
        run.let_go()
        assert run.ended() == 0
    run_id = project.dagster_run().metaflow_run_id
    assert_whole(project, run_id)
    assert project.counted() == ["wait/wait"]
    assert Run(f"WaitingFlow/{run_id}")["wait"].task.data.clock < begun - HOUR / 2
