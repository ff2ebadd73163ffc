from __future__ import annotations

from typing import Literal

import pytest
from dagster._core.system_config.objects import ResolvedRunConfig

from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.options import Options
from tests.unit.emit.test_module import SHAPES
from tests.unit.samples import emitted, flow_of, job_of, linear_flow, loaded


def body(flow: Flow) -> list[str]:
    """The statements of the job function."""
    text = emitted(flow)
    start = text.index("\n", text.index("def MyFlow(")) + 1
    return [line for line in text[start : text.index("\n\n\n", start)].splitlines() if line]


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        pytest.param("single", ['    op_start.alias("op_start")()'], id="single"),
        pytest.param(
            "split",
            [
                '    start_a, start_b = op_start.alias("op_start")()',
                '    a = op_a.alias("op_a")(start_a)',
                '    b = op_b.alias("op_b")(start_b)',
                '    join = op_join.alias("op_join")(a, b)',
                '    op_end.alias("op_end")(join)',
            ],
            id="split",
        ),
        pytest.param(
            "switch in foreach",
            [
                '    start_items = op_start.alias("op_start")()',
                "    def each_start_item(item):",
                '        a_b, a_c = op_a.alias("op_a")(item)',
                '        b = op_b.alias("op_b")(a_b)',
                '        c = op_c.alias("op_c")(a_c)',
                "        return b, c",
                "    b, c = start_items.map(each_start_item)",
                '    b_list = gather_b.alias("gather_b")(b.collect())',
                '    c_list = gather_c.alias("gather_c")(c.collect())',
                '    join = op_join.alias("op_join")([b_list, c_list])',
                '    op_end.alias("op_end")(join)',
            ],
            id="lane",
        ),
    ],
)
def test_job(shape: str, lines: list[str]) -> None:
    assert body(flow_of(*SHAPES[shape])) == lines


def test_tags_and_limits() -> None:
    flow = linear_flow(description='Fits\n"it".')
    job = job_of(loaded(emitted(flow, Options("nightly", workflow_timeout=60, max_workers=2))))
    assert job.name == "nightly"
    assert job.description == 'Fits\n"it".'
    assert job.tags == {"metaflow/flow": "MyFlow", "dagster/max_runtime": "60"}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param(Options(), "threads", id="by default"),
        pytest.param(Options(executor="threads", max_workers=2), "threads", id="threads"),
        pytest.param(Options(executor="multiprocess"), "multiprocess", id="processes"),
        pytest.param(Options(executor="in_process"), "in_process", id="in process"),
    ],
)
def test_executor(options: Options, name: str) -> None:
    job = job_of(loaded(emitted(linear_flow(), options)))
    assert job.executor_def.name == name


@pytest.mark.parametrize("is_warm", [False, True])
def test_processes_of_steps(is_warm: bool) -> None:
    text = emitted(linear_flow(), Options(max_workers=2, warm_steps=is_warm))
    assert ("threads_executor(2, processes=warm_processes)" in text) == is_warm
    assert hasattr(loaded(text), "StepServer") == is_warm
    assert job_of(loaded(text)).executor_def.name == "threads"


@pytest.mark.parametrize("executor", [None, "multiprocess"])
def test_limit_can_be_overridden(executor: Literal["multiprocess"] | None) -> None:
    options = Options(executor=executor, max_workers=2)
    job = job_of(loaded(emitted(linear_flow(), options)))
    configs = ({}, {"execution": {"config": {"max_concurrent": 5}}})
    resolved = (ResolvedRunConfig.build(job, config) for config in configs)
    limits = [one.execution.execution_engine_config["max_concurrent"] for one in resolved]
    assert limits == [2, 5]


def test_jobs_can_be_merged() -> None:
    from dagster import Definitions

    options = (Options("one", max_workers=1), Options("two", max_workers=2), Options("three"))
    modules = [loaded(emitted(linear_flow(), one)) for one in options]
    merged = Definitions.merge(*(module.defs for module in modules))
    Definitions.validate_loadable(merged)
    assert len(list(merged.jobs)) == 3
