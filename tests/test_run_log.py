"""On a database server, a run keeps its connections to the event log, and gets over their loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dagster import DagsterInstance

from metaflow_dagster.runtime import run_log
from metaflow_dagster.runtime.run_log import kept_open
from tests.services.mariadb import mariadb_server
from tests.services.postgres import postgres_server
from tests.unit.runtime.test_kept_open import context_of, report

pytestmark = pytest.mark.slow

SERVERS = {"postgres": postgres_server, "mysql": mariadb_server}
# By SQLAlchemy's names: the number of a connection, and what ends one.
NUMBER = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
END = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


@pytest.fixture(scope="module", params=SERVERS)
def instance(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    with SERVERS[request.param]() as server:
        configuration = {"telemetry": {"enabled": False}, **server.storage}
        (home / "dagster.yaml").write_text(json.dumps(configuration))
        with DagsterInstance.from_config(str(home)) as found:
            yield found


@contextmanager
def connected(storage: Any) -> Iterator[Any]:
    with vars(storage)["_engine"].connect() as connection:
        yield connection


def number(storage: Any) -> int:
    """Which connection the storage uses."""
    with connected(storage) as connection:
        text = NUMBER[connection.dialect.name]
        return int(connection.exec_driver_sql(text).scalar())


def test_a_connection_is_kept_as_long_as_the_run_lasts(instance: DagsterInstance) -> None:
    context, storage = context_of(instance), instance.event_log_storage
    assert number(storage) != number(storage)
    own = vars(storage)["_engine"]
    with kept_open(context):
        report(context)
        kept = number(storage)
        assert number(storage) == kept
        with connected(storage):
            assert number(storage) != kept  # two at once, of which one is kept
        last = number(storage)
        assert number(storage) == last
    assert vars(storage)["_engine"] is own
    assert number(storage) not in (kept, last)
    assert len(instance.all_logs(context.run_id)) == 1


@pytest.mark.parametrize("seconds", [0, 60], ids=["asked", "looked at"])
def test_lost_connection_is_made_anew(
    seconds: int, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "SECONDS_UNTIL_ASKED", seconds)
    context = context_of(instance)
    storage: Any = instance.event_log_storage
    with kept_open(context):
        report(context)
        lost = number(storage)
        with connected(instance.schedule_storage) as other:
            other.exec_driver_sql(END[other.dialect.name].format(lost))
        report(context)
        assert number(storage) != lost
    assert len(instance.all_logs(context.run_id)) == 2


def test_server_is_asked_only_where_it_has_to_be(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(instance)
    dialect = vars(instance.event_log_storage)["_engine"].dialect
    ask, asked = dialect.do_ping, []
    monkeypatch.setattr(dialect, "do_ping", lambda found: asked.append(found) or ask(found))
    with kept_open(context):
        for _ in range(3):
            report(context)
        # Of a connection to MySQL nobody knows where it is to be looked at.
        assert bool(asked) == (dialect.name == "mysql")
        asked.clear()
        monkeypatch.setattr(run_log, "SECONDS_UNTIL_ASKED", 0)
        report(context)
        assert asked
