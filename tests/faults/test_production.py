"""Runs through a Dagster as in production, operated by the flow's own commands."""

from __future__ import annotations

import pytest

from tests.faults.production import Production
from tests.operated import until

pytestmark = pytest.mark.slow


def test_run_is_as_under_metaflow(dagster: Production) -> None:
    file = dagster.project.directory / "whole"
    result = dagster.command("trigger", "--wait", f"--run-id-file={file}")
    assert result.returncode == 0, result.stdout + result.stderr
    run_id = file.read_text()
    assert result.stdout.splitlines()[-1] == f"{run_id} has succeeded."
    dagster.assert_whole(run_id)
    assert dagster.command("status", run_id).stdout.split() == ["Succeeded"]
    assert run_id in dagster.command("list-runs", "--succeeded").stdout


def test_run_is_terminated_and_resumed(dagster: Production) -> None:
    run = dagster.waiting()
    assert dagster.command("status", run.id).stdout.split() == ["Running"]
    result = dagster.command("terminate", run.id)
    assert result.returncode == 0, result.stdout + result.stderr
    assert dagster.statuses(run.id) == ["CANCELED"]
    until(run.is_gone)
    run.let_go()
    again = dagster.resume(run.id)
    assert dagster.statuses(again) == ["SUCCESS"]
    dagster.assert_whole(again)
