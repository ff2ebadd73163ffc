from __future__ import annotations

from typing import Any

import pytest

from metaflow_dagster.runtime.command import SYSROOT
from metaflow_dagster.runtime.results import chosen_step, metadata_provider


@pytest.mark.parametrize(
    ("transition", "step"),
    [
        pytest.param(None, "", id="none"),
        pytest.param(([], None), "", id="empty"),
        pytest.param((["a"], None), "a", id="as Metaflow stores it"),
        pytest.param((["a", "b"], None), "a", id="split"),
    ],
)
def test_chosen_step(transition: Any, step: str) -> None:
    assert chosen_step(transition) == step


@pytest.mark.parametrize(
    ("top_args", "settings", "provider"),
    [
        pytest.param(["--metadata=local"], {SYSROOT: "/store"}, "local@/store", id="local"),
        pytest.param(
            ["--metadata=service"],
            {"METAFLOW_SERVICE_URL": "http://service"},
            "service@http://service",
            id="service",
        ),
        pytest.param(["--metadata=service"], {}, None, id="service with a password in its address"),
        pytest.param(["--metadata=other"], {"METAFLOW_SERVICE_URL": "http://s"}, None, id="other"),
    ],
)
def test_metadata_provider(
    top_args: list[str],
    settings: dict[str, str],
    provider: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METAFLOW_SERVICE_URL", "http://me:secret@service")
    monkeypatch.setattr("metaflow_dagster.runtime.results.METAFLOW_TOP_ARGS", top_args)
    for module in ("results", "command"):
        monkeypatch.setattr(f"metaflow_dagster.runtime.{module}.METAFLOW_STEP_ENV", settings)
    assert metadata_provider() == provider
