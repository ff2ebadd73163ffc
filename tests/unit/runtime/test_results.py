from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from dagster import Failure

from metaflow_dagster.runtime import results
from metaflow_dagster.runtime.command import SYSROOT
from metaflow_dagster.runtime.results import (
    metadata_provider,
    next_steps,
    refuse_other_steps,
    task_metadata,
)
from metaflow_dagster.runtime.tasks import Task


@pytest.mark.parametrize(
    ("transition", "steps"),
    [
        pytest.param(None, [], id="none"),
        pytest.param(([], None), [], id="empty"),
        pytest.param((["a"], None), ["a"], id="as Metaflow stores it"),
        pytest.param((["a", "b"], None), ["a", "b"], id="split"),
    ],
)
def test_next_steps(transition: Any, steps: list[str]) -> None:
    assert next_steps(transition) == steps


WAYS = {"split": [["a", "b"]], "switch": [["a"], ["b"]], "end": [[]]}


@pytest.mark.parametrize(
    ("step", "steps", "said"),
    [
        pytest.param("split", ["a", "b"], None, id="split"),
        pytest.param("switch", ["b"], None, id="one of several ways"),
        pytest.param("end", [], None, id="end"),
        pytest.param("split", ["a"], "goes on to a, but .* to a and b", id="a branch is missing"),
        pytest.param("switch", ["c"], "goes on to c, but .* to a or b", id="another case"),
        pytest.param("end", ["more"], "goes on to more, but .* to no step", id="no longer the end"),
    ],
)
def test_another_way_than_the_job_is_refused(
    step: str, steps: list[str], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "NEXT_STEPS", WAYS)
    expected = pytest.raises(Failure, match=said) if said else nullcontext()
    with expected as caught:
        refuse_other_steps(Task("run", step, step), steps)
    assert caught is None or caught.value.allow_retries is False


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


@pytest.mark.parametrize(
    ("address", "link"),
    [
        pytest.param(
            "https://ui.example/", "https://ui.example/Flow/run/start/start", id="as given"
        ),
        pytest.param("https://ann:secret@ui.example", None, id="with a password"),
        pytest.param("https://ui.example/?sig=secret", None, id="with a query"),
        pytest.param(None, None, id="not configured"),
    ],
)
def test_link_to_the_ui_of_metaflow(
    address: str | None, link: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaflow.metaflow_config.UI_URL", address)
    shown = task_metadata(Task("run", "start", "start"), 2)
    assert {name: value.value for name, value in shown.items()} == {
        "pathspec": "Flow/run/start/start",
        "attempt": 2,
        **({"Metaflow UI": link} if link else {}),
    }
