"""Which runs can be resumed, and what is launched then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaflow_dagster.frontend import Session, library_session
from metaflow_dagster.operate.errors import RunNotResumed
from metaflow_dagster.operate.resume import find_origin
from metaflow_dagster.operate.runs import FLOW_TAG, RUN_ID_TAG, DagsterRun
from tests.unit.flows import flow_class, flow_source
from tests.unit.operate.targets import Runs, run


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metaflow").mkdir()
    with library_session(flow_class(tmp_path, flow_source())) as session:
        yield session


def known(run_id: str, flow: str = "MyFlow", status: str = "FAILURE") -> DagsterRun:
    return run("x", {RUN_ID_TAG: run_id, FLOW_TAG: flow}, status=status)


@pytest.mark.parametrize(
    ("origin", "step", "message"),
    [
        ("1234", None, "was not run by Dagster"),
        ("1234", None, "resume --origin-run-id 1234"),
        ("OtherFlow/dagster-1", None, "OtherFlow/dagster-1 is not a run of MyFlow"),
        ("dagster-1", "nope", "MyFlow has no step nope. Its steps: start, end."),
        ("dagster-running", None, "dagster-running has not ended yet (Running)"),
        ("dagster-queued", None, "dagster-queued has not ended yet (Pending)"),
        ("dagster-other", None, "dagster-other is a run of OtherFlow, not of MyFlow"),
        ("dagster-1", None, "Metaflow knows no run dagster-1 of MyFlow"),
        ("MyFlow/dagster-2", "end", "Metaflow knows no run dagster-2 of MyFlow"),
    ],
)
def test_refused(
    origin: str, step: str | None, message: str, session: Session, tmp_path: Path
) -> None:
    target = Runs(
        known("dagster-running", status="STARTED"),
        known("dagster-queued", status="QUEUED"),
        known("dagster-other", "OtherFlow"),
        known("dagster-1"),
    )
    with pytest.raises(RunNotResumed) as caught:
        find_origin(target, session.state, origin, step, tmp_path / "x.py")
    assert message in str(caught.value)
