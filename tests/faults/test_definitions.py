"""The definitions file and the flow change while a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.waiting import assert_whole, waiting_project, waiting_run
from tests.support import use_client

pytestmark = pytest.mark.slow

MORE = """self.next(self.more)

    @step
    def more(self):
        self.more = "made"
        self.next(self.end)"""


def test_definitions_are_compiled_anew(tmp_path: Path) -> None:
    """The file is replaced at once, so that whoever reads it finds the old one or the new one. The
    run goes on to its end."""
    # The processes of later ops read the new file.
    project = waiting_project(tmp_path, "--executor=multiprocess")
    with waiting_run(project) as run:
        before = project.definitions.read_text()
        project.create("--executor=multiprocess", "--tag=later", "--max-workers=1")
        assert project.definitions.read_text() != before
        run.let_go()
        assert run.ended() == 0
    assert_whole(project, project.dagster_run().metaflow_run_id)


def test_flow_gets_another_step(tmp_path: Path) -> None:
    """The run fails where the changed flow goes on in another way than the job that was compiled
    before: no step is left out silently. Resumed with the new definitions, it runs the new step,
    and nothing twice."""
    from metaflow import Run

    project = waiting_project(tmp_path)
    with waiting_run(project) as run:
        source = project.flow_file.read_text()
        project.flow_file.write_text(source.replace("self.next(self.end)", MORE))
        project.create()
        run.let_go()
        assert run.ended() != 0
    failed = project.dagster_run()
    assert any("esume the run" in failure for failure in failed.failures), failed.failures
    use_client(tmp_path)
    assert not Run(f"WaitingFlow/{failed.metaflow_run_id}").successful
    command = ["dagster", "resume", f"--run-id={failed.metaflow_run_id}", "--wait"]
    project.metaflow(*command, "--run-id-file=resumed", "--definitions-file=definitions.py")
    resumed = (tmp_path / "resumed").read_text()
    assert_whole(project, resumed)
    assert Run(f"WaitingFlow/{resumed}")["more"].task.data.more == "made"
    assert project.counted() == ["wait/wait"]
