"""The process that executes one run on the embedded Dagster, apart from whoever launched it.

    python -c "from metaflow_dagster.internals.execution import DagsterEvents
from metaflow_dagster.internals.operation import DagsterLoading, DagsterRunProcess
from metaflow_dagster.operate.worker import main; main()" HOME DAGSTER_RUN_ID

Dagster's own `dagster api execute_run` does the same, but does not notice when somebody
terminates the run. While this process lives it holds a lock, by which others see that it has not
been killed. Nothing is left running when the run has ended.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_dagster.internals.execution import DagsterEvents
from metaflow_dagster.internals.operation import DagsterLoading, DagsterRunProcess
from metaflow_dagster.operate.cancellation import interrupted_when_canceled

if TYPE_CHECKING:
    from dagster import DagsterInstance

_MAIN = "from metaflow_dagster.operate.worker import main; main()"


def start_worker(home: Path, dagster_run_id: str) -> subprocess.Popen[bytes]:
    """Start the process of a run; it survives this one and its terminal."""
    log = log_file(home, dagster_run_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        # With `-c`, the processes that Dagster starts for ops have no main module to import.
        return subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(home), dagster_run_id],
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_file(home: Path, dagster_run_id: str) -> Path:
    """Where the process writes what it has to say."""
    return home / "launched" / f"{dagster_run_id}.log"


def worker_has_died(home: Path, dagster_run_id: str) -> bool:
    """Whether the run had a process here, and it is gone without having cleaned up."""
    try:
        with open(_lock_file(home, dagster_run_id), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return False
    return True


def remove_lock(home: Path, dagster_run_id: str) -> None:
    """Forget that there was a process."""
    _lock_file(home, dagster_run_id).unlink(missing_ok=True)


def _lock_file(home: Path, dagster_run_id: str) -> Path:
    return home / "launched" / f"{dagster_run_id}.lock"


def main() -> None:
    """Execute the run whose id is on the command line, to its end."""
    from dagster import DagsterInstance

    home, run_id = Path(sys.argv[1]), sys.argv[2]
    with (
        _lock_held(home, run_id),
        DagsterRunProcess.capture_interrupts(),
        DagsterInstance.from_config(str(home)) as instance,
    ):
        _execute(instance, run_id)


@contextmanager
def _lock_held(home: Path, run_id: str) -> Iterator[None]:
    path = _lock_file(home, run_id)
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _execute(instance: DagsterInstance, run_id: str) -> None:
    from dagster import DagsterExecutionInterruptedError

    run = instance.get_run_by_id(run_id)
    assert run is not None, "the launcher has recorded the run"
    assert run.job_code_origin is not None, "and where its job comes from"
    started = f"Started process for run (pid: {os.getpid()})."
    instance.report_engine_event(started, run, DagsterEvents.in_process(os.getpid()))
    job = DagsterLoading.job(run.job_code_origin)
    has_variables = True  # those of its .env
    # Dagster has recorded an interruption before it passes it on.
    with (
        interrupted_when_canceled(instance, run_id),
        suppress(DagsterExecutionInterruptedError, KeyboardInterrupt),
    ):
        for _ in DagsterRunProcess.execute(job, run, instance, has_variables):
            pass
