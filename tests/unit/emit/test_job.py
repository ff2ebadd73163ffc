from __future__ import annotations

import re
import warnings

import pytest
from dagster import DagsterInstance, RunsFilter
from dagster._core.system_config.objects import ResolvedRunConfig
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from metaflow_dagster.executors import ImportedExecutor, find_executor
from metaflow_dagster.ir.flow import Flow, Project
from metaflow_dagster.option_checks import check_options
from metaflow_dagster.options import Options, pool_of, run_tags
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
    job = job_of(loaded(emitted(flow, Options(name="nightly", workflow_timeout=60, max_workers=2))))
    assert job.name == "nightly"
    assert job.description == 'Fits\n"it".\n\nFlow MyFlow, my_flow.py'
    assert job.tags == {"metaflow/flow": "MyFlow", "dagster/max_runtime": "60"}


def test_project_and_branch_are_tags() -> None:
    flow = linear_flow(project=Project("shop", "user.ann"))
    assert job_of(loaded(emitted(flow))).tags == {
        "metaflow/flow": "MyFlow",
        "metaflow/project": "shop",
        "metaflow/branch": "user.ann",
    }


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


@pytest.mark.parametrize(("warm_steps", "is_warm"), [(False, False), (True, True), (None, True)])
def test_processes_of_steps(warm_steps: bool | None, is_warm: bool) -> None:
    text = emitted(linear_flow(), Options(max_workers=2, warm_steps=warm_steps))
    assert ("threads_executor(2, processes=warm_processes(FLOW))" in text) == is_warm
    assert hasattr(loaded(text), "StepServer") == is_warm
    assert job_of(loaded(text)).executor_def.name == "threads"


@pytest.mark.parametrize(
    ("preload", "imports", "shown"),
    [
        pytest.param(("auto",), (), "warm_processes(FLOW)", id="none"),
        pytest.param(
            ("b",), ("a",), 'warm_processes(FLOW, preload=PreloadedModules(("b",)))', id="one"
        ),
        pytest.param(
            ("b", "auto", "a"),
            ("a", "b"),
            'warm_processes(FLOW, preload=PreloadedModules(("b", "a")))',
            id="those of the flow among them",
        ),
    ],
)
def test_modules_to_import_once(
    preload: tuple[str, ...], imports: tuple[str, ...], shown: str
) -> None:
    flow = linear_flow(imports=imports)
    text = emitted(flow, Options(warm_steps=True, preload=preload))
    assert f"processes={shown}" in text
    assert hasattr(loaded(text), "import_modules") == ("preload" in shown)
    assert job_of(loaded(text)).executor_def.name == "threads"


@pytest.mark.parametrize("executor", [None, "multiprocess", "k8s", "docker"])
def test_limit_can_be_overridden(executor: str | None) -> None:
    options = Options(executor=executor, max_workers=2)
    job = job_of(loaded(emitted(linear_flow(), options)))
    configs = ({}, {"execution": {"config": {"max_concurrent": 5}}})
    resolved = (ResolvedRunConfig.build(job, config) for config in configs)
    limits = [each.execution.execution_engine_config["max_concurrent"] for each in resolved]
    assert limits == [2, 5]


def test_jobs_can_be_merged() -> None:
    from dagster import Definitions

    options = (
        Options(name="one", max_workers=1),
        Options(name="two", max_workers=2),
        Options(name="three"),
    )
    modules = [loaded(emitted(linear_flow(), option)) for option in options]
    merged = Definitions.merge(*(module.defs for module in modules))
    Definitions.validate_loadable(merged)
    assert len(list(merged.jobs)) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(Options(executor="k8s"), "executor_def=k8s_job_executor,", id="k8s"),
        pytest.param(
            Options(executor="k8s", max_workers=4),
            "executor_def=limited_executor(k8s_job_executor, 4),",
            id="k8s with a limit",
        ),
        pytest.param(
            Options(executor="docker", max_workers=1),
            "executor_def=limited_executor(docker_executor, 1),",
            id="docker",
        ),
        pytest.param(Options(executor="celery"), "executor_def=celery_executor,", id="celery"),
        pytest.param(
            Options(executor="celery_k8s"), "executor_def=celery_k8s_job_executor,", id="celery_k8s"
        ),
        pytest.param(Options(executor="own.place:mine"), "executor_def=mine,", id="module"),
    ],
)
def test_executor_of_a_package(options: Options, said: str) -> None:
    text = emitted(linear_flow(), options)
    executor = find_executor(options.executor)
    assert isinstance(executor, ImportedExecutor)
    assert said in text
    assert f"from {executor.module} import {executor.attribute}\n" in text
    assert ("def limited_executor(" in text) == (options.max_workers is not None)


def test_executor_of_a_module_called_as_something_in_the_file() -> None:
    text = emitted(linear_flow(), Options(executor="json:run_step"))
    assert "from json import run_step as run_step_\n" in text
    assert "executor_def=run_step_," in text


@pytest.mark.parametrize(
    ("executor", "names"),
    [
        (None, {"dagster/priority"}),
        ("k8s", {"dagster/priority"}),
        ("own:mine", {"dagster/priority"}),
        ("celery", {"dagster/priority", "dagster-celery/run_priority"}),
        ("celery_k8s", {"dagster/priority", "dagster-celery/run_priority"}),
    ],
)
def test_priority(executor: str | None, names: set[str]) -> None:
    text = emitted(linear_flow(), Options(executor=executor, workflow_priority=-3))
    assert set(re.findall(r'"(\S+)": "-3"', text)) == names


@pytest.mark.parametrize(
    ("pools", "found"),
    [
        pytest.param((), {"op_start": None, "op_end": None}, id="none"),
        pytest.param(("all",), {"op_start": "all", "op_end": "all"}, id="all"),
        pytest.param(("end=one",), {"op_start": None, "op_end": "one"}, id="one"),
        pytest.param(("end=one", "all"), {"op_start": "all", "op_end": "one"}, id="but one"),
    ],
)
def test_pools(pools: tuple[str, ...], found: dict[str, str | None]) -> None:
    job = job_of(loaded(emitted(linear_flow(), Options(pools=pools))))
    assert {node.name: node.definition.pool for node in job.nodes} == found


def test_names_of_pools_may_have_what_comes_after_steps() -> None:
    # Not every release of Dagster takes such a name.
    assert pool_of(Options(pools=("start=b=c",)), "start") == "b=c"


PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=80)
TAGS = st.lists(
    PRINTABLE
    | st.tuples(st.from_regex(r"[a-z.\-_/]{1,10}", fullmatch=True), PRINTABLE).map(":".join)
    | st.sampled_from(["metaflow/flow:other", "dagster/priority:9", ".dagster/x:1", "a:", ":a"]),
    max_size=5,
)


@given(TAGS)
@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_runs_have_metaflows_tags(tags: list[str]) -> None:
    options = Options(tags=tuple(tags))
    assume(not list(check_options(options)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job = job_of(loaded(emitted(linear_flow(), options)))
        with DagsterInstance.ephemeral() as instance:
            run = instance.create_run_for_job(job, tags=job.run_tags)
            assert dict(run_tags(options)).items() <= run.tags.items()
            found = instance.get_runs(RunsFilter(tags=run.tags))
    assert run.tags["metaflow/flow"] == "MyFlow"
    assert [each.run_id for each in found] == [run.run_id]


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("team:search", {"team": "search"}),
        ("nightly", {"nightly": "true"}),
        ("at:10:30", {"at": "10:30"}),
        ("größe:1", {}),
        ("a b", {}),
        ("dagster/priority:9", {}),
        ("x" * 64, {}),
        (":a", {}),
    ],
)
def test_tags_of_metaflow_as_dagster_has_them(tag: str, found: dict[str, str]) -> None:
    assert run_tags(Options(tags=(tag,))) == found
