from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from dagster import Definitions
from metaflow import FlowSpec

from metaflow_dagster import CompileError, compiler, synthesize
from metaflow_dagster.compiler import default_output
from metaflow_dagster.diagnostics import InternalError
from tests.unit.flows import flow_class, flow_source
from tests.unit.samples import job_of, loaded


@pytest.fixture
def flow(tmp_path: Path) -> type:
    return flow_class(tmp_path, flow_source(body="rate = Parameter('rate', default=0.5)"))


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        pytest.param({"name": "my-job"}, ["--name 'my-job'"], id="name"),
        pytest.param({"tags": ["", "a\n"]}, ["--tag ''", "--tag 'a\\n'"], id="tags"),
        pytest.param({"max_workers": 0}, ["--max-workers 0"], id="workers"),
        pytest.param({"output": "nowhere/out.py"}, ["does not exist"], id="directory"),
        pytest.param({"output": "out.txt"}, ["Let it end in .py."], id="suffix"),
        pytest.param({"output": "."}, ["is a directory"], id="a directory"),
        pytest.param(
            {"warm_steps": True, "executor": "multiprocess"}, ["--warm-steps"], id="warm steps"
        ),
        pytest.param({"decospecs": ["nonsense"]}, ["nonsense"], id="decorator"),
    ],
)
def test_refused(flow: type, options: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(CompileError) as raised:
        synthesize(flow, **options)
    assert len(raised.value.diagnostics) == len(messages)
    assert all(message in str(raised.value) for message in messages)


def test_flow_whose_name_dagster_refuses(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source(name="input"), "input")
    with pytest.raises(CompileError, match="--name"):
        synthesize(flow)
    assert job_of(loaded(synthesize(flow, name="other"))).name == "other"


def test_flow_is_not_imported_before_its_tasks(flow: type) -> None:
    own = Path(inspect.getfile(flow)).stem
    with pytest.raises(CompileError, match=f"--preload {own} is the flow itself"):
        synthesize(flow, warm_steps=True, preload=[own])


def test_job_of_a_project_has_no_other_name(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source(flow="@project(name='atlas')"))
    with pytest.raises(CompileError, match=r"--name is not supported for @projects.* --branch"):
        synthesize(flow, name="other")


def test_compiled(flow: type, tmp_path: Path) -> None:
    module = loaded(synthesize(flow, output=tmp_path / "out.py"), tmp_path / "out.py")
    Definitions.validate_loadable(module.defs)
    assert module.FLOW.file.startswith(str(tmp_path))
    assert job_of(module).name == "MyFlow"


def test_nothing_is_written(flow: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    synthesize(flow)
    synthesize(flow, output="out.py")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_text_is_the_same_every_time(flow: type) -> None:
    assert synthesize(flow) == synthesize(flow)


def test_path_of_the_output_may_be_of_any_kind(flow: type, tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    assert synthesize(flow, output=str(path)) == synthesize(flow, output=path)


def test_flow_in_another_directory_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    for name in ("größe ✓", "jobs"):
        (tmp_path / name).mkdir()
    flow = flow_class(tmp_path / "größe ✓", flow_source())
    text = synthesize(flow, output=tmp_path / "jobs" / "out.py")
    assert str(tmp_path) not in text
    module = loaded(text, tmp_path / "jobs" / "out.py")
    assert Path(module.FLOW.file).is_file()


def test_flow_outside_the_project(flow: type, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    text = synthesize(flow, output=tmp_path / "project" / "out.py")
    assert Path(loaded(text, "/moved/out.py").FLOW.file).is_file()


@pytest.mark.parametrize(
    ("job", "file"), [("MyFlow", "myflow_dagster.py"), ("nightly", "nightly_dagster.py")]
)
def test_default_output(job: str, file: str) -> None:
    assert default_output(job) == file


@pytest.mark.parametrize("text", ["def f(a, a): pass", "yield 1", "x = '", "a\0b"])
def test_text_that_is_not_python_is_our_fault(text: str) -> None:
    with pytest.raises(InternalError, match="not valid Python"):
        compiler._verify(text)


def test_synthesize_has_every_option_of_the_command_line(flow: type) -> None:
    text = synthesize(
        flow,
        output="out.py",
        name="nightly",
        tags=["a"],
        decospecs=["retry:times=2"],
        namespace="prod",
        workflow_timeout=60,
        max_workers=2,
        executor="multiprocess",
    )
    ast.parse(text)
    for part in (
        'name="nightly"',
        'run_tags=["a"]',
        "retry:times=2",
        'namespace="prod"',
        '"dagster/max_runtime": "60"',
        "executor_def=processes_executor(2, flow=FLOW)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("flow_cls", "options", "message"),
    [
        pytest.param(int, {}, "subclass of metaflow.FlowSpec", id="another class"),
        pytest.param(FlowSpec, {}, "subclass of metaflow.FlowSpec", id="FlowSpec itself"),
        pytest.param("Flow", {}, "subclass of metaflow.FlowSpec", id="no class"),
        pytest.param(None, {"tags": "abc"}, "tags takes a sequence", id="tags"),
        pytest.param(None, {"decospecs": "retry"}, "decospecs takes a sequence", id="decospecs"),
    ],
)
def test_wrong_types(
    flow_cls: Any, options: dict[str, Any], message: str, flow: type, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=message):
        synthesize(flow if flow_cls is None else flow_cls, output=tmp_path / "out.py", **options)


def test_datastore_in_the_directory_of_the_output(
    flow: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaflow_dagster.frontend.backend.DATASTORE_SYSROOT_LOCAL", str(tmp_path))
    text = synthesize(flow, output=tmp_path / "out.py")
    assert '"METAFLOW_DATASTORE_SYSROOT_LOCAL": HERE,' in text.replace("HERE}", "HERE,")


def test_options_of_a_trigger_are_none_of_the_command_line(tmp_path: Path) -> None:
    trigger = "@trigger(event='orders', options={'reset_at': {'cron': '0 0 * * *'}})"
    flow = flow_class(tmp_path, flow_source(flow=trigger))
    assert synthesize(flow) == synthesize(flow)
