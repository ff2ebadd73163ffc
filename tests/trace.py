"""What tasks a run executes: by Metaflow's semantics, and as the compiled job executes them.

`expected` interprets the abstract tree of a flow. `played` executes the job that the compiler made
of it, with a recorder in place of what runs a task: everything between the tasks is real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from dagster import DagsterEventType, DagsterInstance
from typing_extensions import assert_never

from tests.flowgen import (
    Body,
    Branches,
    Cases,
    Choice,
    Each,
    FlowTree,
    Indices,
    Loop,
    Nodes,
    OnNodes,
    Opening,
    Plain,
    Play,
    StepText,
    outside_foreaches,
    steps,
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, order=True)
class Task:
    """A task by its step, its indices in the foreaches, its repetition and its node."""

    step: str
    indices: Indices = ()
    turn: int = 0
    node: int = 0

    @property
    def key(self) -> str:
        """What Dagster calls the execution of the op that runs the task."""
        item = "_".join(map(str, self.indices))
        return f"op_{self.step}[{item}]" if item else f"op_{self.step}"


@dataclass(frozen=True)
class Ran:
    """A task that was run, after which tasks, and as which item of a foreach."""

    task: Task
    inputs: tuple[Task, ...]
    item: int | None = None


@dataclass(frozen=True)
class Played:
    """The tasks that a job has run, and the executions of step ops by how they ended."""

    tasks: Sequence[Ran]
    succeeded: frozenset[str]
    skipped: frozenset[str]


START = Task("_parameters")


def expected(tree: FlowTree) -> list[Ran]:
    """The tasks of a run, by Metaflow's semantics."""
    run = _Reference(tree.play)
    last = run.body(tree.body, START, (), None)
    run.task(tree.end, (last,), ())
    return run.tasks


@dataclass
class _Reference:
    play: Play
    tasks: list[Ran] = field(default_factory=list)

    def task(
        self,
        step: str,
        inputs: tuple[Task, ...],
        indices: Indices,
        item: int | None = None,
        turn: int = 0,
    ) -> Task:
        task = Task(step, indices, turn)
        self.tasks.append(Ran(task, inputs, item))
        return task

    def body(self, body: Body, before: Task, indices: Indices, item: int | None) -> Task:
        """Run one node after the other; the first is the item, if there is one."""
        for node in body:
            match node:
                case Plain(name):
                    before = self.task(name, (before,), indices, item)
                case Branches(opening, branches, join):
                    head = self.opening(opening, before, indices, item)
                    ends = tuple(self.body(branch, head, indices, None) for branch in branches)
                    before = self.task(join, ends, indices)
                case Loop(opening, inner, join):
                    head = self.opening(opening, before, indices, item)
                    ends = tuple(
                        self.body(inner, head, (*indices, index), index)
                        for index in range(self.play.items(head.step, indices))
                    )
                    before = self.task(join, ends, indices)
                case Nodes(opening, step, count, join):
                    head = self.opening(opening, before, indices, item)
                    control = self.task(step, (head,), indices, 0)
                    nodes = tuple(Task(step, indices, 0, node) for node in range(1, count))
                    before = self.task(join, (control, *nodes), indices)
                case Choice():
                    before = self.choice(node, before, indices, item)
                case _:
                    assert_never(node)
            item = None
        return before

    def opening(self, opening: Opening, before: Task, indices: Indices, item: int | None) -> Task:
        if opening.selector is None:
            return self.task(opening.heads[0], (before,), indices, item)
        chosen = self.play.choice(opening.selector, indices, 0, len(opening.heads))
        selector = self.task(opening.selector, (before,), indices, item)
        return self.task(opening.heads[chosen], (selector,), indices)

    def choice(self, node: Choice, before: Task, indices: Indices, item: int | None) -> Task:
        turn = 0
        before = self.task(node.name, (before,), indices, item)
        while node.again is not None and self.play.repeats(node.name, indices, turn):
            turn += 1
            before = self.task(node.name, (before,), indices, None, turn)
        owners = [index for index, case in enumerate(node.cases) for _ in case.keys]
        index = owners[self.play.choice(node.name, indices, turn, len(owners))]
        before = self.body(node.cases[index].body, before, indices, None)
        while node.cases[index].falls:
            index += 1
            before = self.body(node.cases[index].body, before, indices, None)
        return before


def played(tree: FlowTree, module: ModuleType) -> Played:
    """Execute the job in a generated module, with a recorder that plays what the tree says."""
    recorder = _Recorder(module, tree.play, {step.name: step for step in steps(tree)})
    recorder.install()
    (job,) = module.defs.jobs
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(run_config=QUIET, instance=instance)
    assert result.success
    return Played(
        recorder.tasks,
        frozenset(_keys(result.all_events, DagsterEventType.STEP_SUCCESS)),
        frozenset(_keys(result.all_events, DagsterEventType.STEP_SKIPPED)),
    )


def _keys(events: Sequence[Any], kind: DagsterEventType) -> Iterator[str]:
    return (
        event.step_key
        for event in events
        if event.event_type is kind and event.step_key.startswith("op_")
    )


@dataclass
class _Recorder:
    module: ModuleType
    play: Play
    steps: Mapping[str, StepText]
    tasks: list[Ran] = field(default_factory=list)

    def install(self) -> None:
        vars(self.module).update(
            start_run=lambda _flow, _context, _parameters: "run/_parameters/run-parameters",
            run_step=self.run_step,
        )

    def run_step(
        self,
        flow: Any,
        context: Any,
        step: str,
        input_paths: Sequence[str],
        options: Sequence[str] = (),
        part: str = "",
        **_: Any,
    ) -> Any:
        """Stand in for the helper of that name."""
        own = vars(self.module)
        path = str(own["task_of"](flow, context, step, part))
        task = parsed(path)
        self.tasks.append(Ran(task, tuple(map(parsed, input_paths)), _item(options)))
        assert ("--ubf-context=ubf_control" in options) == self.steps[step].is_parallel
        return own["FinishedTask"](
            path=path,
            num_splits=self._items(task),
            target=self._target(task),
            nodes=list(self._nodes(task, path, input_paths)),
            metadata={},
        )

    def _items(self, task: Task) -> int:
        is_foreach = isinstance(self.steps[task.step].next, Each)
        return self.play.items(task.step, task.indices) if is_foreach else 0

    def _target(self, task: Task) -> str:
        following = self.steps[task.step].next
        if not isinstance(following, Cases):
            return ""
        if following.again is not None and self.play.repeats(task.step, task.indices, task.turn):
            return task.step
        count = len(following.targets)
        return following.targets[self.play.choice(task.step, task.indices, task.turn, count)][1]

    def _nodes(self, task: Task, path: str, input_paths: Sequence[str]) -> Iterator[str]:
        if self.steps[task.step].is_parallel:
            following = self.steps[parsed(input_paths[0]).step].next
            assert isinstance(following, OnNodes)
            yield path
            yield from (f"{path}_node_{index}" for index in range(1, following.count))


def parsed(path: str) -> Task:
    """The task of a path that travels between ops."""
    _, step, task_id = path.split("/")
    if step == START.step:
        return START
    match = re.fullmatch(rf"{step}((?:-\d+)*)(?:-r(\d+))?(?:-control(?:_node_(\d+))?)?", task_id)
    assert match is not None, path
    indices = tuple(int(index) for index in match[1].split("-")[1:])
    return Task(step, indices, int(match[2] or 0), int(match[3] or 0))


def _item(options: Sequence[str]) -> int | None:
    items = [option.split("=")[1] for option in options if option.startswith("--split-index=")]
    return int(items[0]) if items else None


def differences(tree: FlowTree, actual: Played) -> list[str]:
    """How the tasks that a job has run differ from those expected; empty if they do not."""
    ordered = {step.name for step in steps(tree) if step.joins_foreach}
    wanted = [_normal(each, ordered) for each in expected(tree)]
    given = [_normal(each, ordered) for each in actual.tasks]
    keys = {each.task.key for each in wanted}
    # Of what follows a foreach that was skipped inside a foreach, Dagster never hears.
    known = {f"op_{step}" for step in outside_foreaches(tree)} - _ops(keys)
    return [
        *(f"not run: {each}" for each in wanted if each not in given),
        *(f"run by mistake: {each}" for each in given if each not in wanted),
        *(f"run twice: {each}" for each in set(given) if given.count(each) > 1),
        *(f"succeeded: {key}" for key in actual.succeeded ^ keys),
        *(f"run and skipped: {key}" for key in actual.skipped & keys),
        *(f"neither run nor skipped: {op}" for op in known - _ops(actual.skipped)),
    ]


def _ops(keys: Set[str]) -> set[str]:
    return {key.split("[")[0] for key in keys}


def _normal(ran: Ran, ordered: set[str]) -> Ran:
    """The same, with the inputs in order where Metaflow gives them in none."""
    if ran.task.step in ordered:
        return ran
    return Ran(ran.task, tuple(sorted(ran.inputs)), ran.item)
