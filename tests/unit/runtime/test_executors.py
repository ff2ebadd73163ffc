"""Which executor a job gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance

from metaflow_dagster.runtime.execution import missing_internals
from metaflow_dagster.runtime.executors import threads_executor

# In it, Dagster lacks something that only the threads need.
LACKING = """
import os
from dagster import job, op
from dagster._core.storage.cloud_storage_compute_log_manager import CloudStorageComputeLogManager
from metaflow_dagster.runtime.executors import threads_executor

del CloudStorageComputeLogManager._poll_for_local_upload

@op
def tell(context):
    context.log.info(f"told by {os.getpid()}.")

@job(executor_def=threads_executor(2))
def telling():
    tell.alias("one")()
    tell.alias("other")()
"""


@pytest.mark.slow
def test_a_dagster_that_lacks_something_runs_ops_in_processes(
    tmp_path: Path,
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    script = tmp_path / "lacking.py"
    script.write_text(LACKING)
    result = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-f", str(script), "-j", "telling"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "not supported by the threads executor (dagster._core.storage" in result.stderr
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        (run,) = instance.get_runs()
        messages = [record.message for record in instance.all_logs(run.run_id)]
    assert len({each for each in messages if "told by" in each}) == 2


def test_this_dagster_lacks_nothing() -> None:
    assert missing_internals() == []
    assert threads_executor(2).name == "threads"
