"""Which executor a job gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

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


TELLING = """
import os, sys
from dagster import job, op
from metaflow_dagster.runtime.executors import processes_executor
from metaflow_dagster.runtime.settings import FlowSettings

flow = FlowSettings("Flow", __file__, ".", "end", {}, variables={"METAFLOW_UI_URL": "adopted"})

@op
def tell(context):
    known = sys.modules.get("metaflow.metaflow_config")
    context.log.info(f"told by {os.getppid()}: {known and known.UI_URL}.")

@job(executor_def=processes_executor(2, flow=flow))
def telling():
    tell.alias("one")()
    tell.alias("other")()
"""


@pytest.mark.slow
def test_ops_are_forked_from_a_process_that_has_metaflow(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    script = tmp_path / "telling.py"
    script.write_text(TELLING)
    command = [
        sys.executable,
        "-m",
        "dagster",
        "job",
        "execute",
        "-f",
        str(script),
        "-j",
        "telling",
    ]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        (run,) = instance.get_runs()
        messages = [one.message for one in instance.all_logs(run.run_id)]
    told = [one.partition("told by ")[2] for one in messages if "told by" in one]
    assert len(told) == 2
    assert told[0] == told[1]
    assert told[0].endswith(": adopted.")


THREAD = (
    "import threading, time; threading.Thread(target=time.sleep, args=[9], daemon=True).start()"
)


@pytest.mark.parametrize(
    ("before", "plugins", "modules"),
    [
        pytest.param("", None, ["metaflow.plugins"], id="all"),
        pytest.param("import metaflow", None, [], id="other settings"),
        pytest.param("", "raise ValueError", [], id="broken"),
        pytest.param("", THREAD, [], id="thread"),
    ],
)
def test_what_ops_share_of_metaflow(
    before: str, plugins: str | None, modules: list[str], tmp_path: Path
) -> None:
    if plugins is not None:
        (tmp_path / "metaflow").mkdir()
        (tmp_path / "metaflow" / "__init__.py").touch()
        (tmp_path / "metaflow" / "plugins.py").write_text(plugins)
    code = f"""
        from metaflow_dagster.runtime.executors import modules_of_metaflow
        from metaflow_dagster.runtime.settings import FlowSettings
        {before}
        variables = {{"METAFLOW_UI_URL": "adopted"}}
        print(modules_of_metaflow(FlowSettings("F", "f.py", ".", "end", {{}}, variables=variables)))
    """
    command = [sys.executable, "-c", dedent(code)]
    assert subprocess.check_output(command, text=True, cwd=tmp_path) == f"{modules}\n"
