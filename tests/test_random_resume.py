"""A random flow that fails at a random task is carried on as Metaflow's own `resume` does it.

Dagster runs each flow, with real tasks, until one fails. Then Metaflow resumes the run, a run of
Dagster resumes it, of the same file or of one that was compiled with `--origin-run-id`, and another
re-executes what has failed, in the run itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, ReexecutionOptions, execute_job
from dagster._core.definitions.reconstruct import ReconstructableJob
from hypothesis import Phase, example, given, note, settings
from hypothesis import strategies as st

from metaflow_dagster import synthesize
from tests import trace
from tests.flowgen import (
    Case,
    Cases,
    Choice,
    FlowTree,
    Indices,
    Limits,
    Loop,
    Nodes,
    Opening,
    Plain,
    Play,
    Stumble,
    examples,
    flow_of,
    module_of,
    source,
    steps,
    trees,
)
from tests.support import checked, path_with_this_python, working_directory

pytestmark = pytest.mark.slow

_numbers = itertools.count()
RUN_TAG = "metaflow/run_id"
ORIGIN_TAG = "metaflow/origin_run_id"
STEP_TAG = "metaflow/resume_step"

Tasks = Counter[tuple[str, Indices, int]]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


@dataclass(frozen=True)
class Run:
    """A run of the flow, in Metaflow and, if Dagster ran it, there."""

    id: str
    succeeded: bool = True
    dagster_run_id: str = ""


@dataclass(frozen=True)
class Place:
    """A directory with one flow, its file and its datastore; Dagster's history is elsewhere."""

    directory: Path
    instance: DagsterInstance
    tree: FlowTree

    def allow(self) -> None:
        """Let no task stumble from now on."""
        (self.directory / "go").touch()

    def execute(self, definitions: Path, **options: Any) -> Run:
        """Run the job of a definitions file."""
        job = ReconstructableJob.for_file(str(definitions), self.tree.name)
        with execute_job(
            job, self.instance, run_config=trace.QUIET, raise_on_error=False, **options
        ) as result:
            run = self.instance.get_run_by_id(result.run_id)
            assert run is not None
            assert RUN_TAG in run.tags, [event for event in result.all_events if event.is_failure]
            return Run(run.tags[RUN_TAG], result.success, result.run_id)

    def resume_natively(self, flow_file: Path, origin: Run, step: str | None) -> Run:
        """Resume a run by Metaflow's own scheduler."""
        file = self.directory / "native-run-id"
        options = ["--origin-run-id", origin.id, "--run-id-file", str(file)]
        command = [sys.executable, flow_file.name, "--quiet", "resume", *filter(None, [step])]
        checked([*command, *options], self.directory, PATH=path_with_this_python())
        return Run(file.read_text())

    def begun(self, run: Run) -> Tasks:
        """The tasks of a run that have begun, as often as they have."""
        lines = map(json.loads, (self.directory / "ran").read_text().splitlines())
        return Counter(
            (step, tuple(indices), turn)
            for run_id, step, indices, turn in lines
            if run_id == run.id
        )

    def root(self, run: Run) -> Path:
        return self.directory / ".metaflow" / self.tree.name / run.id

    def ids(self, run: Run) -> list[tuple[str, str]]:
        """Step and id of the tasks that a run has in the datastore."""
        return [(found.parent.name, found.name) for found in self.root(run).glob("*/[!_]*")]

    def content(self, run: Run) -> Mapping[str, str]:
        """Digests of all that is stored of a run."""
        files = (found for found in self.root(run).rglob("*") if found.is_file())
        return {str(file): hashlib.sha1(file.read_bytes()).hexdigest() for file in files}

    def trail(self, run: Run) -> Any:
        """What the last task says of those before it."""
        from metaflow.datastore import FlowDataStore
        from metaflow.plugins.datastores.local_storage import LocalStorage

        root = str(self.directory / ".metaflow")
        store = FlowDataStore(self.tree.name, None, storage_impl=LocalStorage, ds_root=root)
        ((_, task_id),) = [each for each in self.ids(run) if each[0] == self.tree.end]
        return store.get_task_datastore(run.id, self.tree.end, task_id)["trail"]


def tasks_of(tree: FlowTree) -> list[Stumble]:
    """The tasks of a run, by Metaflow's semantics, as the steps note them."""
    parallel = {step.name for step in steps(tree) if step.is_parallel}
    ran = trace.expected(tree)
    nodes = sorted({task for each in ran for task in each.inputs if task.node})
    return [
        Stumble(
            task.step,
            (*task.indices, task.node) if task.step in parallel else task.indices,
            task.turn,
        )
        for task in [*(each.task for each in ran), *nodes]
    ]


@st.composite
def stumbling(draw: st.DrawFn) -> tuple[FlowTree, Stumble, str | None, bool]:
    """A flow, the task at which it stumbles, a step to resume it from, or none, and whether by a
    file with `--origin-run-id`.
    """
    tree = draw(trees(Limits(steps=7, foreaches=2, depth=3), nasty=False))
    stumble = draw(st.sampled_from(tasks_of(tree)))
    names = sorted({task.step for task in tasks_of(tree)})
    return tree, stumble, draw(st.none() | st.sampled_from(names)), draw(st.booleans())


PARALLEL = Nodes(Opening(("spread",)), "work", 2, "gather")
IN_FOREACH = Loop(Opening(("start",)), (PARALLEL, Plain("more")), "join")
IN_CASE = Choice("start", (Case(("a",), (PARALLEL,)), Case(("b",), (Plain("other"),))))
NOT_CHOSEN = Choice(
    "start", (Case(("a",), ()), Case(("b",), (replace(IN_FOREACH, opening=Opening(("items",))),)))
)

FEW_OR_MANY = Choice(
    "choose", (Case(("few",), (Plain("small"),)), Case(("many",), (Plain("large"),)))
)
DIFFERENT_CHOICES = FlowTree(
    "RandomFlow",
    (Loop(Opening(("start",)), (FEW_OR_MANY,), "join"),),
    "end",
    play=Play((1, 0)),  # the first item chooses the first case, the other the second
)

TWO_RECURSIVE_STEPS = FlowTree(
    "RandomFlow",
    (
        Plain("start"),
        Choice("saw", (Case(("a",), ()), Case(("b",), ())), 0),
        Choice("paint", (Case(("a",), ()), Case(("b",), ())), 0),
    ),
    "end",
    play=Play((1,)),
)


def flow_with(node: Loop | Choice) -> FlowTree:
    """A flow that goes through a foreach of two items, or chooses the first case."""
    number = 1 if isinstance(node, Loop) else 0
    return FlowTree("RandomFlow", (node, Plain("after")), "end", play=Play((number,)))


@pytest.mark.parametrize("part", range(2))
@settings(examples(10, deep=100), phases=[Phase.explicit, Phase.generate])  # seconds each
@given(drawn=stumbling())
@example(drawn=(flow_with(IN_FOREACH), Stumble("after", ()), None, True))
@example(drawn=(flow_with(IN_FOREACH), Stumble("work", (0, 1)), None, False))
@example(drawn=(flow_with(IN_CASE), Stumble("end", ()), "gather", True))
@example(drawn=(flow_with(NOT_CHOSEN), Stumble("after", ()), None, False))
@example(drawn=(TWO_RECURSIVE_STEPS, Stumble("end", ()), None, False))
@example(drawn=(DIFFERENT_CHOICES, Stumble("choose", (1,)), None, False))
def test_a_failed_run_is_carried_on_as_by_metaflow(
    tmp_path_factory: pytest.TempPathFactory,
    instance: DagsterInstance,
    part: int,
    drawn: tuple[FlowTree, Stumble, str | None, bool],
) -> None:
    tree, stumble, step, by_file = drawn
    note(f"{source(tree, stumble)}\n# resumed from {step}, by a file: {by_file}")
    directory = tmp_path_factory.mktemp("flow")
    (directory / ".metaflow").mkdir()
    place = Place(directory, instance, tree)
    with (
        working_directory(directory),
        module_of(source(tree, stumble), directory, f"flow_{next(_numbers)}") as module,
    ):
        flow_file = Path(str(module.__file__))
        definitions = directory / f"job_{next(_numbers)}.py"
        flow = flow_of(tree, module)
        definitions.write_text(synthesize(flow, output=definitions))
        failed = place.execute(definitions)
        assert not failed.succeeded
        content = place.content(failed)
        place.allow()

        native = place.resume_natively(flow_file, failed, step)
        tags = {STEP_TAG: step} if step else {}
        if by_file:
            resuming = directory / f"job_{next(_numbers)}.py"
            resuming.write_text(synthesize(flow, output=resuming, origin_run_id=failed.id))
            resumed = place.execute(resuming, tags=tags)
        else:
            resumed = place.execute(definitions, tags={ORIGIN_TAG: failed.id, **tags})
        assert resumed.succeeded
        lost = place.begun(native) - place.begun(resumed)
        assert place.begun(resumed) - place.begun(native) == Counter()
        assert set(lost) <= lost_by_metaflow(tree)
        by_step, natively = (Counter(one for one, _ in place.ids(run)) for run in (resumed, native))
        assert by_step == natively - Counter(one for one, _, _ in lost)  # and is there twice
        assert place.trail(resumed) == place.trail(native)
        assert place.content(failed) == content

        again = place.execute(
            definitions,
            reexecution_options=ReexecutionOptions.from_failure(failed.dagster_run_id, instance),
        )
        assert (again.succeeded, again.id) == (True, failed.id)
        everything = place.begun(failed)
        assert place.trail(failed) == place.trail(native)
        assert set(everything) == {(each.step, each.indices, each.turn) for each in tasks_of(tree)}
        twice = {task for task, count in everything.items() if count > 1}
        assert twice <= unfinished(tree, stumble)
        for run in (resumed, failed):
            ids = [task_id for _, task_id in place.ids(run)]
            assert len(set(ids)) == len(ids)


def lost_by_metaflow(tree: FlowTree) -> set[tuple[str, Indices, int]]:
    """Finished tasks that Metaflow's own resume does not find, and runs again.

    They are the first repetitions of recursive steps that follow another directly.
    """
    recursive = {
        step.name: step.next
        for step in steps(tree)
        if isinstance(step.next, Cases) and step.next.again is not None
    }
    followed = {target for cases in recursive.values() for _, target in cases.targets}
    lost = recursive.keys() & followed
    return {(task.step, task.indices, task.turn) for task in tasks_of(tree) if task.step in lost}


def unfinished(tree: FlowTree, stumble: Stumble) -> set[tuple[str, Indices, int]]:
    """The tasks that have begun and not finished: of a parallel step, all nodes."""
    parallel = {step.name for step in steps(tree) if step.is_parallel}
    if stumble.step not in parallel:
        return {(stumble.step, stumble.indices, stumble.turn)}
    siblings = (task for task in tasks_of(tree) if task.step == stumble.step)
    return {
        (sibling.step, sibling.indices, sibling.turn)
        for sibling in siblings
        if sibling.indices[:-1] == stumble.indices[:-1]
    }
