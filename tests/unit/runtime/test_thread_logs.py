"""Each of the ops that run in threads of a process has logs of its own."""

from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEventType,
    DagsterInstance,
    JobDefinition,
    OpExecutionContext,
    job,
    op,
)

from metaflow_dagster.runtime.executors import threads_executor
from metaflow_dagster.runtime.op_threads import current_op_thread
from tests.unit.runtime.test_threads import executed


@op
def speak(context: OpExecutionContext) -> None:
    thread = current_op_thread()
    for stream in (*thread.stdout, *thread.stderr):
        stream.write(f"{context.op_handle.name} to {len(thread.stdout)} streams\n")
        stream.flush()


def speaking() -> JobDefinition:
    @job(executor_def=threads_executor())
    def speaking_job() -> None:
        speak.alias("ann")()
        speak.alias("bob")()

    return speaking_job


# The managers of compute logs, and whether they keep what is written.
LOG_MANAGERS = [
    pytest.param("", True, id="local"),
    pytest.param(
        "compute_logs:\n"
        "  module: tests.unit.runtime.kept_elsewhere\n"
        "  class: LogsInDirectory\n"
        "  config: {directory: DIRECTORY/kept}\n",
        True,
        id="elsewhere",
    ),
    pytest.param(
        "compute_logs:\n"
        "  module: dagster._core.storage.noop_compute_log_manager\n"
        "  class: NoOpComputeLogManager\n",
        False,
        id="nowhere",
    ),
]


@pytest.mark.parametrize(("manager", "is_kept"), LOG_MANAGERS)
def test_each_op_has_logs_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], manager: str, is_kept: bool
) -> None:
    settings = "telemetry: {enabled: false}\n" + manager.replace("DIRECTORY", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(settings)
    with (
        DagsterInstance.from_config(str(tmp_path)) as instance,
        executed(instance, speaking) as result,
    ):
        assert result.success
        captured = [
            event.logs_captured_data
            for event in result.all_events
            if event.event_type == DagsterEventType.LOGS_CAPTURED
        ]
        files = {tuple(each.step_keys or []): each.file_key for each in captured}
        assert files.keys() == {("ann",), ("bob",)}
        logs = instance.compute_log_manager
        for (name,), file in files.items():
            log_key = logs.build_log_key_for_run(result.run_id, file)
            data = logs.get_log_data(log_key)
            said = f"{name} to 2 streams\n".encode() if is_kept else None
            assert data.stdout == data.stderr == said
            assert logs.is_capture_complete(log_key)
    shown = capsys.readouterr()
    assert "ann to " in shown.out
    assert "bob to " in shown.err


def test_logs_that_cannot_be_kept_do_not_matter(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager: Any = instance.compute_log_manager
    monkeypatch.setattr(manager, "_base_dir", "/dev/null/nowhere")
    with executed(instance, speaking) as result:
        assert result.success
        messages = [str(event.message) for event in result.all_events]
    assert any("The logs of ann are not captured" in each for each in messages)
