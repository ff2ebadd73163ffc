"""Where the embedded Dagster keeps its history."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from metaflow_dagster.operate.errors import DagsterUnavailable
from metaflow_dagster.operate.home import dagster_home


def test_home_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert dagster_home() == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_own_home_sends_no_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    home = dagster_home()
    assert home == tmp_path / ".metaflow-dagster"
    configuration = yaml.safe_load((home / "dagster.yaml").read_text())
    assert configuration == {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
    (home / "dagster.yaml").write_text("{}")
    assert dagster_home() == home
    assert (home / "dagster.yaml").read_text() == "{}"


@pytest.mark.parametrize("given", ["relative", "/does/not/exist", __file__])
def test_unusable_home(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", given)
    with pytest.raises(DagsterUnavailable, match=os.path.basename(given)):
        dagster_home()


def test_home_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(DagsterUnavailable, match="Set DAGSTER_HOME"):
        dagster_home()
