"""Events that are published to the history on this machine, and the command."""

from __future__ import annotations

import functools
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from metaflow import namespaced_event_name
from metaflow._vendor.click.testing import CliRunner, Result

from metaflow_dagster import publish
from metaflow_dagster.cli.console import main
from metaflow_dagster.operate.embedded import EmbeddedTarget
from metaflow_dagster.operate.errors import DagsterUnavailable, EventNotPublished
from metaflow_dagster.operate.payload import checked_payload
from tests.flowgen import examples
from tests.unit.operate.events import PAYLOAD, exactly, payloads, recorded

COMMAND = Path(sys.executable).with_name("metaflow-dagster")


@pytest.fixture(scope="module")
def old_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_home(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def target(old_home: Path) -> Iterator[EmbeddedTarget]:
    with EmbeddedTarget.open(old_home) as target:
        yield target


@pytest.fixture
def home(old_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that events are published to, where there are some already."""
    monkeypatch.delenv("METAFLOW_DAGSTER_URL", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(old_home))
    return old_home


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that events are published to, and that has no history yet."""
    monkeypatch.delenv("METAFLOW_DAGSTER_URL", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return new_home(tmp_path)


def new_home(directory: Path) -> Path:
    (directory / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return directory


def run(*arguments: str) -> Result:
    """Run `metaflow-dagster publish`."""
    return CliRunner(mix_stderr=False).invoke(main, ["publish", *arguments])


@pytest.mark.slow
@examples(40)
@given(payloads())
def test_what_is_taken_is_read_again(
    old_home: Path, target: EmbeddedTarget, payload: dict[str, Any]
) -> None:
    try:
        checked = checked_payload(payload)
    except EventNotPublished:
        return
    target.publish("events/some", checked)
    assert exactly(recorded(old_home, "events/some")) == exactly(payload)


def test_id_is_made(home: Path) -> None:
    first, second = publish("orders"), publish("orders", {"city": "Rome"})
    assert uuid.UUID(first) != uuid.UUID(second)
    assert recorded(home, "orders") == {"id": second, "city": "Rome"}


@pytest.mark.parametrize(
    ("id", "text"),
    [("mine", "mine"), ("", ""), (7, "7"), (0.5, "0.5"), (None, "null"), ([1, "a"], '[1, "a"]')],
)
def test_id_is_kept(home: Path, id: Any, text: str) -> None:
    assert publish("orders", {"id": id}) == text
    assert recorded(home, "orders") == {"id": id}


def test_odd_payload(home: Path) -> None:
    id = publish("orders", PAYLOAD)
    assert exactly(recorded(home, "orders")) == exactly({"id": id, **PAYLOAD})


@pytest.mark.parametrize("name", [namespaced_event_name("orders"), lambda: "mfns.orders"])
def test_name_by_a_callable(home: Path, name: Any) -> None:
    publish(name, {"id": "a"})
    assert recorded(home, "mfns.orders") == {"id": "a"}


@pytest.mark.parametrize("event", ["a b", "", 3, None, lambda: None, functools.partial(int, 3)])
def test_no_name(fresh: Path, event: Any) -> None:
    with pytest.raises(EventNotPublished, match=r"event"):
        publish(event)
    assert not (fresh / "history").exists()


@pytest.mark.parametrize(
    "configuration", ["a: [b", "- 1", "nonsense: 1", "storage:\n  postgres:\n    postgres_url: x"]
)
def test_unusable_configuration(fresh: Path, configuration: str) -> None:
    (fresh / "dagster.yaml").write_text(configuration)
    with pytest.raises(DagsterUnavailable, match=r"Fix its dagster\.yaml"):
        publish("orders")


def test_unusable_history(fresh: Path) -> None:
    runs = fresh / "history" / "runs"
    runs.mkdir(parents=True)
    (runs / "index.db").write_text("garbage" * 1000)
    with pytest.raises(EventNotPublished, match="file is not a database"):
        publish("orders")


def test_command(home: Path) -> None:
    result = run("sales/orders", "--payload", "city=Rome=Roma", "--payload", "none=")
    found = recorded(home, "sales/orders")
    assert found == {"id": found["id"], "city": "Rome=Roma", "none": ""}
    assert result.stdout == f"sales/orders is published as {found['id']} in {home}.\n"
    assert result.exit_code == 0


def test_command_with_json(home: Path) -> None:
    result = run(
        "orders", "--payload-json", '{"a": [1, null], "b": 2, "id": "x\\ny"}', "--payload=b=3"
    )
    assert result.stdout == f"orders is published as 'x\\ny' in {home}.\n"
    assert recorded(home, "orders") == {"a": [1, None], "b": "3", "id": "x\ny"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a b"], "'a b' is no name for an event"),
        (["a", "--payload", "b"], "--payload 'b' is not KEY=VALUE"),
        (["a", "--payload-json", "{"], "--payload-json is not JSON"),
        (["a", "--payload-json", "[" * 100_000], "--payload-json is not JSON"),
        (["a", "--payload-json", "[1]"], "--payload-json is not a JSON object"),
        (["a", "--payload-json", '{"b": NaN}'], "The value of 'b' in the payload"),
        (["a", "--url", "http://ann:secret@"], "'http://' is not the address"),
        (["a", "--url", "http://ann:secret@127.0.0.1:9/d"], "answers at http://127.0.0.1:9/d"),
    ],
)
def test_command_refuses(fresh: Path, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "secret" not in result.stderr
    assert not (fresh / "history").exists()


@pytest.mark.slow
def test_first_events_at_once(fresh: Path) -> None:
    processes = [
        subprocess.Popen([COMMAND, "publish", "orders"], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert all(line.startswith("orders is published as ") for line in said)
    assert all(line.count("\n") == 1 for line in said)
