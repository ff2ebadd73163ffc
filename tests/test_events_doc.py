"""The commands of docs/events.md, as a reader gives them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.operated import Place, running_server, until
from tests.project import ROOT
from tests.support import checked, path_with_this_python

DOCUMENT = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:3000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_from_an_event_to_a_run_in_five_commands(tmp_path: Path) -> None:
    (flow,) = blocks("python")
    create, serve, *others = blocks("sh")[0].splitlines()
    assert len(others) == 3
    (tmp_path / "orders_flow.py").write_text(flow, encoding="utf-8")
    (tmp_path / ".metaflow").mkdir()
    place = Place(tmp_path, tmp_path / "home")
    place.home.mkdir()
    reader = place.environment()
    checked(shlex.split(create), tmp_path, **reader)
    assert serve.startswith("dagster dev -f ")
    with running_server(place, serve.removeprefix("dagster dev -f ")) as server:
        publish, post, list_runs = (one.replace(URL, server.url) for one in others)
        checked(shlex.split(publish), tmp_path, **reader)
        checked(shlex.split(post), tmp_path, **reader)

        def listed() -> str:
            said = checked(shlex.split(list_runs), tmp_path, **reader)
            return said if said.count("Succeeded") == 2 else ""

        until(listed)
    code = (
        "from metaflow import Flow, namespace; namespace(None)\n"
        "print(*sorted(run['start'].task.stdout for run in Flow('OrdersFlow')), sep='')"
    )
    printed = checked([sys.executable, "-c", code], tmp_path, **reader).splitlines()
    assert [line.partition(" event ")[0] for line in printed if line] == [
        "3 orders for Rome",
        "by",
        "4 orders for nowhere",
        "by",
    ]


@pytest.mark.slow
def test_command_for_notices(tmp_path: Path) -> None:
    (flow,) = blocks("python")
    (tmp_path / "orders_flow.py").write_text(flow, encoding="utf-8")
    (command,) = blocks("sh")[1].splitlines()
    checked(shlex.split(command), tmp_path, PATH=path_with_this_python(), METAFLOW_USER="reader")
    assert "OrdersFlow_notify_on_error" in (tmp_path / "ordersflow_dagster.py").read_text()
