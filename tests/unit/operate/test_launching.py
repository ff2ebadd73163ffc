"""Which job the options of the launching commands mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaflow_dagster.cli.launching import Launching
from metaflow_dagster.frontend import Session, library_session
from metaflow_dagster.operate.runs import JobChoice
from tests.unit.flows import flow_class, flow_source

URL = "http://127.0.0.1:3000"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metaflow").mkdir()
    with library_session(flow_class(tmp_path, flow_source())) as session:
        yield session


@pytest.mark.parametrize(
    ("file", "name", "url", "usual", "expected"),
    [
        (None, None, None, None, ("MyFlow", "myflow_dagster.py")),
        (None, "Nightly", None, None, ("Nightly", "nightly_dagster.py")),
        ("x.py", None, None, None, (None, "x.py")),
        ("x.py", "Nightly", None, None, ("Nightly", "x.py")),
        ("x.py", None, URL, None, ("MyFlow", "x.py")),
        (None, None, None, "Origin", ("Origin", "origin_dagster.py")),
        (None, None, URL, "Origin", ("Origin", "origin_dagster.py")),
        (None, "Nightly", None, "Origin", ("Nightly", "nightly_dagster.py")),
        ("x.py", None, None, "Origin", (None, "x.py")),
    ],
)
def test_job(
    file: str | None,
    name: str | None,
    url: str | None,
    usual: str | None,
    expected: tuple[str | None, str],
    session: Session,
) -> None:
    launching = Launching(file, name, url, "here", (), False, None, None)
    choice = launching.job(session, usual)
    assert choice == JobChoice(expected[0], Path(expected[1]), "here")
