"""Any flow that Metaflow accepts becomes a job of the same graph, or is refused with a reason."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dagster import Definitions
from hypothesis import assume, given, note
from hypothesis import strategies as st
from metaflow import lint

from metaflow_dagster import synthesize
from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.names import DAGSTER_RESERVED, ascii_name
from tests.flowgen import (
    Cases,
    Each,
    Fan,
    FlowTree,
    Limits,
    Linear,
    StepText,
    edges_of,
    examples,
    file_text,
    flow_of,
    module_of,
    steps,
    trees,
)
from tests.support import working_directory

pytestmark = pytest.mark.slow

_numbers = itertools.count()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("flows")
    with working_directory(path):
        yield path


@pytest.mark.parametrize("part", range(2))
@examples(30)
@given(tree=trees())
def test_a_flow_becomes_a_job_of_the_same_graph(directory: Path, part: int, tree: FlowTree) -> None:
    compiled(directory, tree, steps(tree))


@pytest.mark.parametrize("part", range(2))
@examples(60)
@given(data=st.data())
def test_a_flow_that_was_changed_at_random_is_compiled_or_refused(
    directory: Path, part: int, data: st.DataObject
) -> None:
    tree = data.draw(trees(Limits(steps=8, depth=2), nasty=False))
    texts = steps(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(texts) - 1))
        target = data.draw(st.sampled_from(texts)).name
        how = data.draw(st.sampled_from([_retargeted, _extended, _join_toggled, _parallel_toggled]))
        texts[index] = how(texts[index], target, data.draw(st.integers(0, 2)))
    note(file_text(tree, texts))
    compiled(directory, tree, texts)


def _retargeted(step: StepText, target: str, place: int) -> StepText:
    """The step with another target in place of one that it has."""
    match step.next:
        case Fan(targets):
            place %= len(targets)
            return replace(step, next=Fan((*targets[:place], target, *targets[place + 1 :])))
        case Cases(targets, again):
            place %= len(targets)
            case = (targets[place][0], target)
            changed = (*targets[:place], case, *targets[place + 1 :])
            return replace(step, next=Cases(changed, again))
        case None:
            return replace(step, next=Linear(target))
        case other:
            return replace(step, next=replace(other, target=target))


def _extended(step: StepText, target: str, place: int) -> StepText:
    """The step with one target more, or another kind of transition."""
    match step.next:
        case Linear(other):
            return replace(step, next=(Fan((other, target)), Each(other), Each(target))[place])
        case Fan(targets):
            return replace(step, next=Fan((*targets, target)))
        case Cases(targets, again):
            return replace(step, next=Cases((*targets, ("another", target)), again))
        case _:
            return replace(step, next=Linear(target))


def _join_toggled(step: StepText, _target: str, _place: int) -> StepText:
    return replace(step, is_join=not step.is_join)


def _parallel_toggled(step: StepText, _target: str, _place: int) -> StepText:
    return replace(step, is_parallel=not step.is_parallel)


@pytest.mark.parametrize("name", ["Größe", "_hidden", "Upper", "été", "x_", "next", "input"])
def test_a_step_of_that_name_is_compiled_or_refused(directory: Path, name: str) -> None:
    tree = FlowTree("NamedFlow", (), "end")
    texts = [StepText("start", Linear(name)), StepText(name, Linear("end")), StepText("end", None)]
    compiled(directory, tree, texts)


def compiled(directory: Path, tree: FlowTree, texts: Sequence[StepText]) -> None:
    """Compile a flow, and check all that can be said of the result without running it."""
    number = next(_numbers)
    output = directory / f"job_{number}.py"
    job_name = "a_job" if tree.name in DAGSTER_RESERVED else None
    with module_of(file_text(tree, texts), directory, f"flow_{number}") as module:
        flow = flow_of(tree, module)
        if not accepted_by_metaflow(flow):
            with pytest.raises(CompileError) as refusal:
                synthesize(flow, output=output, name=job_name)
            assert any(step.name in str(refusal.value) for step in texts)
            return
        text = synthesize(flow, output=output, name=job_name)
        assert synthesize(flow, output=output, name=job_name) == text
    with module_of(text, directory, output.stem) as generated:
        # A flow called `defs` has its name to itself.
        (definitions,) = [
            value for value in vars(generated).values() if isinstance(value, Definitions)
        ]
        Definitions.validate_loadable(definitions)
        (job,) = definitions.jobs
    assert job.name == (job_name or ascii_name(tree.name))
    names = [node.name for node in job.nodes if not is_plumbing(node)]
    assert sorted(names) == sorted(f"op_{step.name}" for step in texts)
    assert step_edges(job) == {(f"op_{a}", f"op_{b}") for a, b in edges_of(texts)}


def accepted_by_metaflow(flow: Any) -> bool:
    """Whether Metaflow's own checks find nothing wrong with the graph."""
    try:
        lint.linter.run_checks(flow._graph)
    except (lint.LintWarn, LookupError):  # it breaks down over some graphs that it should refuse
        return False
    return True


def is_plumbing(node: Any) -> bool:
    return bool(node.definition.tags["dagster/compute_kind"] == "plumbing")


def step_edges(job: Any) -> set[tuple[str, str]]:
    """The dependencies between the ops of steps, through any plumbing between them."""
    before = {
        invocation.alias or invocation.name: {
            source.node
            for dependency in inputs.values()
            for source in dependency.get_node_dependencies()
        }
        for invocation, inputs in job.dependencies.items()
    }
    plumbing = {node.name for node in job.nodes if is_plumbing(node)}

    def origins(op: str) -> Iterator[str]:
        for source in before.get(op, ()):
            yield from origins(source) if source in plumbing else (source,)

    return {(source, op) for op in before if op not in plumbing for source in origins(op)}


@examples(3)
@given(tree=trees(Limits(steps=16)), seed=st.integers(1, 1000))
def test_the_command_line_writes_the_same_in_another_process(
    directory: Path, tree: FlowTree, seed: int
) -> None:
    assume(tree.name not in DAGSTER_RESERVED)
    number = next(_numbers)
    output = directory / f"job_{number}.py"
    texts = steps(tree)
    with module_of(file_text(tree, texts), directory, f"flow_{number}") as module:
        text = synthesize(flow_of(tree, module), output=output)
    subprocess.run(
        [sys.executable, f"flow_{number}.py", "--quiet", "dagster", "create", output.name],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert output.read_text(encoding="utf-8") == text
