"""Every shape of graph, run by Metaflow and by Dagster: the runs leave the same behind."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from metaflow_dagster import synthesize
from tests import shapes_doc
from tests.flowgen import FlowTree, Limits, examples, source, trees
from tests.golden import SHAPE_CASES, SHAPES, Case
from tests.support import (
    DagsterRun,
    RunSnapshot,
    TaskSnapshot,
    Workspace,
    _all_artifacts,
    differences,
    load_module,
    path_with_this_python,
    started_afresh,
    use_client,
    working_directory,
)

# Artifacts of Metaflow's own that name the run, or that have no equality.
NOT_COMPARED = ("_control_mapper_tasks", "_parallel_ubf_iter")


class Shapes(Workspace):
    """Copies of the flows, compiled, with a datastore of their own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.flows = directory / "flows"
        self.golden = directory / "compiled"
        self._expected: dict[str, RunSnapshot] = {}
        shutil.copytree(SHAPES, self.flows)
        self.golden.mkdir()
        (directory / ".metaflow").mkdir()

    def compile(self, case: Case) -> None:
        """Write the definitions file of a flow."""
        sys.path.insert(0, str(self.flows))
        try:
            with working_directory(self.flows):
                module = load_module(self.flows / case.flow_file)
                flow, output = getattr(module, case.class_name), self.golden / case.output
                text = synthesize(flow, output=output, **case.options)
        finally:
            sys.path.remove(str(self.flows))
        (self.golden / case.output).write_text(text, encoding="utf-8")

    def expected(self, case: Case) -> RunSnapshot:
        """A run of the flow by Metaflow's own scheduler."""
        if case.flow not in self._expected:
            self._expected[case.flow] = self.snapshot(case, self.run_natively(case, {}))
            assert self._expected[case.flow].successful
        return self._expected[case.flow]

    def run(self, case: Case, way: str) -> DagsterRun:
        """Run the job.

        If warm, as by default, nothing but the nodes of parallel steps has a Python of its own;
        `in_process` starts each step with one.
        """
        if way == "in_process":
            return self.run_in_process(case, {})
        run = self.execute(case)
        fresh = started_afresh(self.starts(case), case.flow_file)
        assert [each for each in fresh if "ubf_task" not in each] == []
        return run

    def snapshot(self, case: Case, run_id: str) -> RunSnapshot:
        """Read a run; the repetitions of a recursive step are tasks of their own."""
        from metaflow import Run

        use_client(self.root)
        run = Run(f"{case.class_name}/{run_id}")
        tasks: dict[str, dict[tuple[int, ...], TaskSnapshot]] = {}
        for step in run:
            for task in step:
                artifacts = {
                    artifact.id: artifact.data
                    for artifact in _all_artifacts(task)
                    if artifact.id not in NOT_COMPARED
                }
                own = tasks.setdefault(step.id, {})
                place = _place(artifacts)
                assert place not in own, f"{step.id}{place} was run twice"
                own[place] = TaskSnapshot(artifacts)
        return RunSnapshot(tasks, run.successful, run.finished)


def _place(artifacts: dict[str, Any]) -> tuple[int, ...]:
    """The indices of a task in foreaches and, after a -1, in the loops of recursive steps."""
    frames = artifacts.get("_foreach_stack") or ()
    turns = artifacts.get("_iteration_stack") or ()
    return (*(frame.index for frame in frames), *((-1, *map(int, turns)) if turns else ()))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    return Shapes(tmp_path_factory.mktemp("workspace") / "shapes")


@pytest.fixture(scope="module", autouse=True)
def _python_of_the_tests() -> Iterator[None]:
    """Metaflow starts the nodes of a parallel step with the `python` it finds first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path_with_this_python())
        yield


def assert_same(workspace: Shapes, case: Case, way: str) -> None:
    """Run a flow by Metaflow and in this way by Dagster, and compare what is left behind."""
    workspace.compile(case)
    expected = workspace.expected(case)
    run = workspace.run(case, way)
    assert run.succeeded, run.failures
    actual = workspace.snapshot(case, run.metaflow_run_id)
    assert actual.successful
    assert differences(expected, actual) == []
    ran = {
        f"op_{step}" + (f"[{'_'.join(map(str, place))}]" if place else "")
        for step, tasks in actual.tasks.items()
        for place in _op_places(tasks)
    }
    ops = {key.rpartition(".")[2]: status for key, status in run.statuses.items()}
    ops = {key: status for key, status in ops.items() if key.startswith("op_")}
    assert {key for key, status in ops.items() if status == "SUCCESS"} == ran


def _op_places(tasks: Any) -> set[tuple[int, ...]]:
    """The foreach indices of the ops that ran these tasks."""
    return {_foreach_indices(task.artifacts) for task in tasks.values()}


def _foreach_indices(artifacts: Any) -> tuple[int, ...]:
    frames = artifacts.get("_foreach_stack") or ()
    return tuple(frame.index for frame in frames if frame.var != "_parallel_ubf_iter")


@pytest.mark.slow
@pytest.mark.parametrize("case", SHAPE_CASES, ids=str)
def test_a_shape_runs_in_dagster_as_in_metaflow(workspace: Shapes, case: Case) -> None:
    assert_same(workspace, case, "warm")


@pytest.mark.slow
@pytest.mark.parametrize("case", SHAPE_CASES, ids=str)
def test_a_shape_is_materialized_as_it_runs_in_metaflow(workspace: Shapes, case: Case) -> None:
    assert_same(workspace, as_assets(case), "warm")


def as_assets(case: Case) -> Case:
    """The case as a graph that Dagster materializes; an artifact of each step is an asset."""
    steps = re.findall(r"@step\s+def (\w+)", (case.directory / case.flow_file).read_text())
    options = {"as_assets": True, "assets": [f"{step}.name" for step in steps]}
    return replace(case, variant="assets", options=options)


@pytest.mark.slow
@settings(examples(3), phases=[Phase.reuse, Phase.generate])
@given(tree=trees(Limits(steps=6, foreaches=2, depth=3), nasty=False))
def test_random_flows_run_in_dagster_as_in_metaflow(
    tmp_path_factory: pytest.TempPathFactory, tree: FlowTree
) -> None:
    workspace = Shapes(tmp_path_factory.mktemp("random") / "shapes")
    (workspace.flows / "random_flow.py").write_text(source(tree), encoding="utf-8")
    assert_same(workspace, Case("random_flow", tree.name), "in_process")


def test_the_document_of_the_shapes_is_current() -> None:
    assert shapes_doc.DOCUMENT.read_text(encoding="utf-8") == shapes_doc.document()
