from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.plugins.aws.batch.batch_decorator import BatchDecorator
from metaflow.plugins.environment_decorator import EnvironmentDecorator
from metaflow.plugins.kubernetes.kubernetes_decorator import KubernetesDecorator
from metaflow.plugins.parallel_decorator import ParallelDecorator
from metaflow.plugins.pypi.conda_decorator import CondaStepDecorator
from metaflow.plugins.retry_decorator import RetryDecorator

from metaflow_dagster import synthesize
from metaflow_dagster.cli.report import report_flow
from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.frontend import decorators
from metaflow_dagster.frontend.decorators import decorated_step
from metaflow_dagster.ir.flow import End, Location, Retries, Step
from tests.unit.flows import flow_class, flow_source, read, refused


@pytest.mark.parametrize("decorator", ["kubernetes", "batch", "conda", "pypi"])
def test_decorator_that_metaflow_does_not_take_here_is_named(
    decorator: str, tmp_path: Path
) -> None:
    flow = flow_class(tmp_path, flow_source(start=f"@{decorator}"))
    with pytest.raises(CompileError, match=f"@{decorator}"):
        synthesize(flow)


@pytest.mark.parametrize(
    ("kind", "hooked"),
    [
        pytest.param(BatchDecorator, True, id="batch"),
        pytest.param(KubernetesDecorator, True, id="kubernetes"),
        pytest.param(CondaStepDecorator, True, id="conda"),
        pytest.param(RetryDecorator, False, id="retry"),
        pytest.param(EnvironmentDecorator, False, id="environment"),
        pytest.param(ParallelDecorator, False, id="parallel"),
    ],
)
def test_decorators_with_hooks(kind: type, hooked: bool) -> None:
    node: Any = SimpleNamespace(
        decorators=[kind(statically_defined=True)],
        wrappers=[],
        config_decorators=[],
        parallel_step=False,
    )
    step = decorated_step(node, Step("fit", End(), (), Location("flow.py", 1)))
    assert bool(step.hooks) is hooked


SANDBOX = """
from metaflow.decorators import StepDecorator

class SandboxDecorator(StepDecorator):
    name = "sandbox"
    def {hook}(self, *_):
        pass

def sandbox(step):
    step.decorators.append(SandboxDecorator(statically_defined=True))
    return step

class MyFlow("""


@pytest.mark.parametrize(
    ("hook", "hooked"),
    [
        ("runtime_init", True),
        ("runtime_task_created", True),
        ("runtime_step_cli", True),
        ("runtime_finished", True),
        ("task_pre_step", False),
    ],
)
def test_step_with_hooks(hook: str, hooked: bool, tmp_path: Path) -> None:
    source = flow_source().replace("class MyFlow(", SANDBOX.format(hook=hook))
    source = source.replace("    @step\n    def start", "    @sandbox\n    @step\n    def start")
    flow = read(flow_class(tmp_path, source))
    assert [bool(step.hooks) for step in flow.steps] == [hooked, False]


# A module as those in `frontend/decorators`, for the decorator above.
OF_SANDBOX = """
from dataclasses import replace
from metaflow_dagster.frontend.decorators.handling import StepHandling, at_step

def check(node):
    yield at_step(node, "No sandbox is large enough.", "Take it off.")

HANDLING = StepHandling(
    "sandbox",
    tell=lambda step: f"{{step.name}} is closed",
    read=lambda node, step: replace(step, timeout=7),
    {check}
)
"""


@pytest.mark.parametrize("check", ["", "check=check"], ids=["read and told", "refused"])
def test_a_new_decorator_is_a_new_file(
    check: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sandbox.py").write_text(OF_SANDBOX.format(check=check))
    monkeypatch.setattr(decorators, "__path__", [*decorators.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{decorators.__name__}.sandbox", raising=False)
    source = flow_source().replace("class MyFlow(", SANDBOX.format(hook="task_pre_step"))
    source = source.replace("    @step\n    def start", "    @sandbox\n    @step\n    def start")
    flow = flow_class(tmp_path, source)
    decorators.handlings.cache_clear()
    try:
        if check:
            (diagnostic,) = refused(flow)
            assert diagnostic.message == "No sandbox is large enough."
        else:
            assert [step.timeout for step in read(flow).steps] == [7, None]
            report_flow(read(flow))
            assert "@sandbox  start: start is closed" in capsys.readouterr().out
    finally:
        decorators.handlings.cache_clear()


@pytest.mark.parametrize(
    ("decorators", "timeout"),
    [
        pytest.param("", None, id="none"),
        pytest.param("@timeout(seconds=5)", 5, id="seconds"),
        pytest.param("@timeout(minutes=2)", 120, id="minutes"),
        pytest.param("@timeout(seconds=5, minutes=2, hours=1)", 3725, id="all added"),
    ],
)
def test_timeout(decorators: str, timeout: int | None, tmp_path: Path) -> None:
    flow = read(flow_class(tmp_path, flow_source(start=decorators)))
    assert [step.timeout for step in flow.steps] == [timeout, None]


def test_refusal_says_where(tmp_path: Path) -> None:
    decorator = "@environment(vars={'API_TOKEN': 'x'})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(start=decorator)))
    assert diagnostic.step == "start"
    assert diagnostic.location is not None
    lines = Path(diagnostic.location.file).read_text().splitlines()
    assert "def start" in lines[diagnostic.location.line - 1]
    assert str(diagnostic).startswith(f"{diagnostic.location.file}:{diagnostic.location.line}: ")


@pytest.mark.parametrize(
    "decorator",
    [
        "@exit_hook(on_success=[print])",
        "@airflow_external_task_sensor(external_dag_id='d')",
    ],
)
def test_decorator_of_a_flow_is_refused(decorator: str, tmp_path: Path) -> None:
    text = "\n".join(map(str, refused(flow_class(tmp_path, flow_source(flow=decorator)))))
    assert f"{decorator.partition('(')[0]} is not supported yet." in text


@pytest.mark.parametrize(
    "decorator", ["@resources(cpu=2)", "@timeout(seconds=5)", "@card", "@secrets(sources=[])"]
)
def test_decorator_that_acts_inside_the_step_is_taken(decorator: str, tmp_path: Path) -> None:
    assert read(flow_class(tmp_path, flow_source(start=decorator))).step("start").decorators == ()


def test_all_that_is_unsupported_is_told_at_once(tmp_path: Path) -> None:
    source = flow_source(
        start="@environment(vars={'API_TOKEN': 'x'})",
        flow="@exit_hook(on_success=[print])\n@schedule(cron='x')\n@trigger(event='a b')",
        body="c = Config('c', default_value={'api_token': 'x'})\n"
        "a = Parameter('x')\nb = Parameter('X')",
    )
    flow = flow_class(tmp_path, source)
    text = "\n".join(map(str, refused(flow)))
    for part in (
        "@exit_hook",
        "@schedule",
        "@trigger",
        "API_TOKEN",
        "Config c.api_token",
        "Parameters x and X",
    ):
        assert part in text
    with pytest.raises(CompileError) as raised:
        read(flow)
    assert len(raised.value.diagnostics) == len(str(raised.value).splitlines()) == 6


@pytest.mark.parametrize(
    "variable",
    [
        "API_KEY",
        "APIKEY",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "password",
        "GOOGLE_CREDENTIALS",
    ],
)
def test_credential_in_the_environment_is_refused(variable: str, tmp_path: Path) -> None:
    decorator = f"@environment(vars={{'OTHER': '1', {variable!r}: 'sesame'}})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(start=decorator)))
    assert diagnostic.step == "start"
    assert variable in str(diagnostic)
    assert "sesame" not in str(diagnostic)


def test_address_with_a_password_is_refused(tmp_path: Path) -> None:
    decorator = "@environment(vars={'DATABASE': 'postgres://me:sesame@db/x'})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(start=decorator)))
    assert "DATABASE" in str(diagnostic)
    assert "sesame" not in str(diagnostic)


PASSED_ON = "@environment(vars={{'API_KEY': os.getenv('API_KEY'{default}), 'OTHER': '1'}})"


@pytest.mark.parametrize("default", [", ''", ""])
@pytest.mark.parametrize("held", ["sesame", "", None])
def test_credential_that_is_passed_on_is_left_out(
    held: str | None, default: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    if held is not None:
        monkeypatch.setenv("API_KEY", held)
    flow = flow_class(tmp_path, flow_source(start=PASSED_ON.format(default=default)))
    text = synthesize(flow, output=tmp_path / "out.py")
    step = read(flow).step("start")
    assert (step.environment, step.inherited) == ((("OTHER", "1"),), ("API_KEY",))
    assert "sesame" not in text
    assert 'environment={"OTHER": "1", "API_KEY": os.environ.get("API_KEY", "")},' in text


@pytest.mark.parametrize(
    ("held", "given"),
    [
        pytest.param("other", "sesame", id="another value"),
        pytest.param(None, "sesame", id="not set"),
        pytest.param("other", "", id="emptied"),
    ],
)
def test_credential_that_is_not_passed_on_is_refused(
    held: str | None, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    if held is not None:
        monkeypatch.setenv("API_KEY", held)
    decorator = f"@environment(vars={{'API_KEY': {given!r}}})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(start=decorator)))
    assert "looks like a credential" in str(diagnostic)
    assert "sesame" not in str(diagnostic)


def test_credential_of_the_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would stand in the file as the specification of a decorator.
    monkeypatch.setenv("API_KEY", "sesame")
    with pytest.raises(CompileError, match="looks like a credential"):
        read(flow_class(tmp_path, flow_source()), ['environment:vars={"API_KEY": "sesame"}'])


def test_environment_that_is_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="--with 'environment:vars=") as raised:
        read(flow_class(tmp_path, flow_source()), ["environment:vars={'A':'1'}"])
    assert {diagnostic.step for diagnostic in raised.value.diagnostics} == {"start", "end"}


def test_environment(tmp_path: Path) -> None:
    decorator = "@environment(vars={'Z': 'http://a/b', 'MONKEY_BUSINESS': 'n', 'A': ''})"
    step = read(flow_class(tmp_path, flow_source(start=decorator))).step("start")
    assert step.environment == (("A", ""), ("MONKEY_BUSINESS", "n"), ("Z", "http://a/b"))


@pytest.mark.parametrize(
    ("decorators", "retries"),
    [
        pytest.param("", Retries(), id="none"),
        pytest.param("@retry", Retries(3, 0, 2), id="retry"),
        pytest.param("@retry(times=0)", Retries(0, 0, 2), id="retry, never"),
        pytest.param("@retry(times=1, minutes_between_retries=0)", Retries(1), id="at once"),
        pytest.param("@catch(var='x')", Retries(0, 3, 0), id="catch"),
        pytest.param("@catch\n@retry(times=2)", Retries(2, 3, 2), id="both"),
        pytest.param("@catch\n@retry(times=4)", Retries(4, 1, 2), id="six attempts at most"),
    ],
)
def test_retries(decorators: str, retries: Retries, tmp_path: Path) -> None:
    flow = read(flow_class(tmp_path, flow_source(start=decorators)))
    assert flow.step("start").retries == retries
    assert flow.step("end").retries == Retries()


@pytest.mark.parametrize(
    ("decospecs", "start", "end"),
    [
        pytest.param((), (), (), id="none"),
        pytest.param(
            ("retry:times=2",), ("retry:times=2",), ("retry:times=2",), id="on every step"
        ),
        pytest.param(("catch",), (), ("catch",), id="where the flow has it, the flow's counts"),
    ],
)
def test_decospecs(
    decospecs: tuple[str, ...], start: tuple[str, ...], end: tuple[str, ...], tmp_path: Path
) -> None:
    flow = read(flow_class(tmp_path, flow_source(start="@catch(var='x')")), decospecs)
    assert [_names(flow.step(name).decorators) for name in ("start", "end")] == [
        _names(start),
        _names(end),
    ]


def _names(specs: tuple[str, ...]) -> list[str]:
    return [spec.partition(":")[0] for spec in specs]


def test_retries_of_decospecs_count(tmp_path: Path) -> None:
    flow = read(flow_class(tmp_path, flow_source()), ["retry:times=4,minutes_between_retries=1"])
    assert flow.step("end").retries == Retries(4, 0, 1)
