from __future__ import annotations

import json
from dataclasses import replace

import pytest

from metaflow_dagster.emit.op import GLUE_TAGS, POD_TAG, STEP_TAGS
from metaflow_dagster.ir.flow import End, Flow, Linear, Pod, Retries, Switch
from tests.unit.emit.test_module import SHAPES
from tests.unit.samples import emitted, flow_of, job_of, linear_flow, loaded


def definition(text: str, identifier: str) -> str:
    """An op from its decorator to its end, on one line."""
    start = text.rindex("\n@op(", 0, text.index(f"def {identifier}("))
    return " ".join(text[start : text.index("\n\n\n", start)].split())


def retried(retries: Retries, flow: Flow) -> Flow:
    return replace(flow, steps=tuple(replace(step, retries=retries) for step in flow.steps))


@pytest.mark.parametrize(
    ("shape", "op", "parts"),
    [
        pytest.param(
            "linear",
            "op_end",
            [
                'name="MyFlow__end"',
                "(context: OpExecutionContext, start: str) -> Output[str]:",
                'run_step(FLOW, context, "end", [start])',
                "return task_output(task)",
            ],
            id="linear",
        ),
        pytest.param(
            "split",
            "op_start",
            ['out={"a": Out(str), "b": Out(str)}', 'split_outputs(task, "a", "b")'],
            id="split",
        ),
        pytest.param("split", "op_join", ["[a, b]"], id="join of a split"),
        pytest.param(
            "foreach",
            "op_start",
            ["out=DynamicOut(str)", "yield from foreach_outputs(task)"],
            id="foreach",
        ),
        pytest.param("foreach", "op_a", ["options=foreach_options(context)"], id="item"),
        pytest.param("foreach", "op_join", ["a: list[str]", '"join", a)'], id="join of a foreach"),
        pytest.param(
            "switch in foreach",
            "op_a",
            ["Out(str, is_required=False)", 'switch_output(task, {"b": "b", "c": "c"})'],
            id="switch",
        ),
        pytest.param("switch in foreach", "gather_b", ["return flat(paths)"], id="gather"),
        pytest.param("nested", "op_a", ["-> Output[list[str]]", "foreach_list(task)"], id="list"),
        pytest.param("nested", "fan_out_a", ["yield from fanned_out(paths)"], id="fan-out"),
        pytest.param("nested", "regroup_inner", ["yield from regrouped(paths, 1)"], id="regroup"),
        pytest.param(
            "recursive", "op_a", ['run_recursive_step( FLOW, context, "a"'], id="recursive"
        ),
        pytest.param(
            "parallel",
            "op_a",
            ["run_parallel_step(FLOW, context, ", "nodes_output(task)"],
            id="parallel",
        ),
    ],
)
def test_op(shape: str, op: str, parts: list[str]) -> None:
    text = definition(emitted(flow_of(*SHAPES[shape])), op)
    for part in parts:
        assert part in text or part.replace("( ", "(") in text


@pytest.mark.parametrize(
    ("retries", "policy"),
    [
        pytest.param(Retries(), None, id="none"),
        pytest.param(Retries(3), (3, None), id="retry"),
        pytest.param(Retries(0, 2), (2, None), id="catch"),
        pytest.param(Retries(1, 2, 3), (3, 180), id="both"),
    ],
)
def test_retry_policy(retries: Retries, policy: tuple[int, int | None] | None) -> None:
    job = job_of(loaded(emitted(retried(retries, linear_flow()))))
    for node in job.nodes:
        found = node.definition.retry_policy
        assert (found and (found.max_retries, found.delay)) == policy


def test_recursive_step_has_retries_for_all_its_repetitions() -> None:
    flow = flow_of({"start": Linear("a"), "a": Switch(("a", "end"), "x"), "end": End()})
    job = job_of(loaded(emitted(retried(Retries(1), flow))))
    most = {node.name: node.definition.retry_policy.max_retries for node in job.nodes}
    assert most == {"op_start": 1, "op_a": 10_000, "op_end": 1}


def test_glue_is_told_apart_from_steps() -> None:
    job = job_of(loaded(emitted(flow_of(*SHAPES["nested"]))))
    for node in job.nodes:
        glue = not node.name.startswith("op_")
        assert node.definition.tags == (GLUE_TAGS if glue else STEP_TAGS)
        assert (node.definition.description or "").startswith("Plumbing") == glue


def test_description_environment_and_decorators() -> None:
    flow = linear_flow()
    step = replace(
        flow.steps[0], description='Say "ü"\n', environment=(("A", "b"),), decorators=("retry",)
    )
    module = loaded(emitted(replace(flow, steps=(step, *flow.steps[1:]))))
    first, _ = sorted(job_of(module).nodes, key=lambda node: str(node.name), reverse=True)
    assert first.definition.description == 'Say "ü"\n\nStep start, my_flow.py'
    assert module.FLOW.step_decorators == {"start": ["retry"]}


def test_pod_of_an_op() -> None:
    flow = linear_flow()
    pod = Pod(
        container=(("image", "own:1"),),
        spec=(("service_account_name", "steps"),),
        metadata=(("labels", {"team": "search"}),),
    )
    text = emitted(replace(flow, steps=(replace(flow.steps[0], pod=pod), *flow.steps[1:])))
    tags = {node.name: node.definition.tags for node in job_of(loaded(text)).nodes}
    assert tags["op_end"] == STEP_TAGS
    assert json.loads(tags["op_start"][POD_TAG]) == {
        "container_config": {"image": "own:1"},
        "pod_spec_config": {"service_account_name": "steps"},
        "pod_template_spec_metadata": {"labels": {"team": "search"}},
        "job_metadata": {"labels": {"team": "search"}},
    }


def test_a_branch_that_is_called_as_the_only_output_is_not_alone() -> None:
    flow = flow_of(
        {
            "start": Switch(("result", "other"), "case"),
            "result": Linear("end"),
            "other": Linear("end"),
            "end": End(),
        }
    )
    text = emitted(flow)
    assert '"result": Out(str, is_required=False)' in text
    assert '"other": Out(str, is_required=False)' in text
