from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from dagster import Failure

from metaflow_dagster.runtime.results import (
    metadata_provider,
    next_steps,
    refuse_other_steps,
    task_metadata,
    unordered_foreach,
)
from metaflow_dagster.runtime.store import SYSROOT
from metaflow_dagster.runtime.tasks import Task
from tests.support import checked
from tests.unit.samples import settings_of


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
def test_another_way_than_the_job_is_refused(step: str, steps: list[str], said: str | None) -> None:
    expected = pytest.raises(Failure, match=said) if said else nullcontext()
    with expected as caught:
        refuse_other_steps(settings_of(next_steps=WAYS), Task("run", step, step), steps)
    assert caught is None or caught.value.allow_retries is False


@pytest.mark.parametrize(
    ("metadata", "variables", "provider"),
    [
        pytest.param("local", {SYSROOT: "/store"}, "local@/store", id="local"),
        pytest.param(
            "service",
            {"METAFLOW_SERVICE_URL": "http://service"},
            "service@http://service",
            id="service",
        ),
        pytest.param("service", {}, None, id="service with a password in its address"),
        pytest.param("other", {"METAFLOW_SERVICE_URL": "http://s"}, None, id="other"),
    ],
)
def test_metadata_provider(
    metadata: str,
    variables: dict[str, str],
    provider: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METAFLOW_SERVICE_URL", "http://me:secret@service")
    flow = settings_of(metadata=metadata, variables=variables)
    assert metadata_provider(flow) == provider


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
    shown = task_metadata(settings_of(name="Flow"), Task("run", "start", "start"), 2)
    assert {name: value.value for name, value in shown.items()} == {
        "pathspec": "Flow/run/start/start",
        "attempt": 2,
        **({"Metaflow UI": link} if link else {}),
    }


FOREACH = """
from collections import Counter
from metaflow import FlowSpec, step

class ItemsFlow(FlowSpec):
    @step
    def start(self):
        self.set, self.frozen = {"a"}, frozenset("a")
        self.table, self.counter, self.iterator = {0: 1}, Counter([0]), iter(["a"])
        self.list, self.range, self.text = ["a"], range(1), "a"
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    ItemsFlow()
"""


@pytest.mark.slow
def test_foreach_over_what_has_no_order_of_its_own(tmp_path: Path) -> None:
    from metaflow.datastore import FlowDataStore
    from metaflow.plugins.datastores.local_storage import LocalStorage

    (tmp_path / "items.py").write_text(FOREACH)
    root = tmp_path / ".metaflow"
    root.mkdir()
    checked([sys.executable, "items.py", "run", "--run-id-file", "id"], tmp_path)
    store = FlowDataStore("ItemsFlow", None, storage_impl=LocalStorage, ds_root=str(root))
    run_id = (tmp_path / "id").read_text()
    (datastore,) = store.get_task_datastores(run_id, ["start"])
    task = Task(run_id, "start", "1")
    for name, remedy in (
        ("set", "sorted"),
        ("frozen", "sorted"),
        ("table", "list"),
        ("counter", "list"),
        ("iterator", "list"),
    ):
        warning = unordered_foreach(task, datastore, name)
        assert re.search(rf"self\.{name},.* {remedy}\(", warning or "")
    for name in ("list", "range", "text", None):
        assert unordered_foreach(task, datastore, name) is None
