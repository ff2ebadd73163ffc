"""The module as a whole, and the names in it."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from dagster import Definitions
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from metaflow_dagster.emit import SHARED_MODULE, emit_shared_runtime
from metaflow_dagster.emit.library import runtime_library
from metaflow_dagster.emit.module import MARK_OF_FLOW
from metaflow_dagster.generated import is_generated
from metaflow_dagster.ir.flow import (
    Backend,
    DefaultPath,
    DefaultValue,
    End,
    Event,
    Flow,
    Foreach,
    LeftToMetaflow,
    Linear,
    Parallel,
    Parameter,
    ParameterKind,
    Required,
    Retries,
    Schedule,
    Split,
    Switch,
    Transition,
    Trigger,
    TriggerKind,
)
from metaflow_dagster.names import OP_BODY_NAMES
from metaflow_dagster.options import RUNTIMES, Options
from metaflow_dagster.runtime import PUBLIC
from tests.unit.emit.test_library import RUNTIME, top_level_names
from tests.unit.samples import definitions_of, emitted, flow_of, job_of, linear_flow, loaded

SHAPES: Mapping[str, tuple[Mapping[str, Transition], Mapping[str, str]]] = {
    "single": ({"start": End()}, {}),
    "linear": ({"start": Linear("end"), "end": End()}, {}),
    "split": (
        {
            "start": Split(("a", "b")),
            "a": Linear("join"),
            "b": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"join": "start"},
    ),
    "foreach": (
        {
            "start": Foreach("a", "xs"),
            "a": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"join": "start"},
    ),
    "nested": (
        {
            "start": Foreach("a", "xs"),
            "a": Foreach("b", "ys"),
            "b": Linear("inner"),
            "inner": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"inner": "a", "join": "start"},
    ),
    "switch in foreach": (
        {
            "start": Foreach("a", "xs"),
            "a": Switch(("b", "c"), "x"),
            "b": Linear("join"),
            "c": Linear("join"),
            "join": Linear("end"),
            "end": End(),
        },
        {"join": "start"},
    ),
    "recursive": (
        {"start": Linear("a"), "a": Switch(("a", "end"), "x"), "end": End()},
        {},
    ),
    "parallel": (
        {"start": Parallel("a"), "a": Linear("join"), "join": Linear("end"), "end": End()},
        {"join": "start"},
    ),
}
SHAPED = [pytest.param(flow_of(*shape), id=name) for name, shape in SHAPES.items()]

# Names that the module itself needs, or that mean something to Python or Dagster.
AWKWARD = [
    "json",
    "os",
    "Config",
    "job",
    "op",
    "Definitions",
    "defs",
    "run_step",
    "Task",
    "Any",
    "Iterator",
    "Optional",
    "Field",
    "subprocess",
    "HERE",
    "FLOW",
    "FlowSettings",
    "VERSION",
    "context_",
    "task",
    "parameters",
    "item",
    "print",
    "list",
    "match",
    "_",
    "_private",
    "op_start",
    "MyFlowConfig",
    "compress_list",
    "Größe",
]
PARAMETERS = (
    Parameter("rate", ParameterKind.FLOAT, DefaultValue(0.5), "How fast"),
    Parameter("data", ParameterKind.JSON, DefaultValue({"a": [1, None]})),
    Parameter("maybe", ParameterKind.INT, LeftToMetaflow()),
    Parameter("needed", ParameterKind.STR, Required()),
    Parameter("table", ParameterKind.FILE, DefaultPath("/project/data/table.csv")),
)

TRIGGERS = (
    Trigger(
        TriggerKind.EVENT,
        (Event("orders", (("needed", "who"), ("rate", "speed"))), Event("sales/eu")),
        Schedule("0 0 * * *", "Europe/Berlin"),
    ),
    Trigger(TriggerKind.RUN, (Event("metaflow.ads.prod.Other.end"),)),
)
NOTICES = Options(notify_on_error=True, notify_on_success=True)


def with_everything(flow: Flow) -> Flow:
    """The flow with parameters, retries, environment, decorators, schedule and triggers."""
    steps = tuple(
        replace(
            step,
            description="Does\nit.",
            retries=Retries(2, 1, 1),
            environment=(("A", "b"),),
            decorators=("retry:times=2",),
        )
        for step in flow.steps
    )
    backend = Backend(local_sysroot="/project/store", settings=(("METAFLOW_X", "y"),))
    return replace(
        flow,
        steps=steps,
        parameters=PARAMETERS,
        backend=backend,
        schedule=Schedule("0 6 * * 1-5", "Europe/Berlin"),
        triggers=TRIGGERS,
    )


def definitions(text: str) -> dict[str, str]:
    """The source of each function and class, decorators included."""
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


def _first_line(node: ast.FunctionDef | ast.ClassDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def ruff(*texts: str, directory: Path) -> str:
    """What ruff's default rules, its import order among them, find in the texts."""
    for index, text in enumerate(texts):
        (directory / f"m{index}.py").write_text(text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F,E,W,I"]
    result = subprocess.run(
        [*command, "--ignore=E501", "--output-format=concise", str(directory)],
        capture_output=True,
        text=True,
    )
    return "" if result.returncode == 0 else result.stdout


@pytest.mark.parametrize("flow", SHAPED)
def test_loads_with_everything(flow: Flow) -> None:
    module = loaded(emitted(with_everything(flow), NOTICES))
    Definitions.validate_loadable(module.defs)
    job = job_of(module)
    assert job.name == "MyFlow"
    assert {f"op_{step.name}" for step in flow.steps} <= {node.name for node in job.nodes}


@pytest.mark.parametrize("flow", SHAPED)
def test_what_a_file_holds_of_the_runtime_is_what_it_uses(flow: Flow) -> None:
    text = emitted(flow)
    above, _, own = text.partition(MARK_OF_FLOW)
    library = runtime_library()
    used = library.closure(names_of(ast.parse(own)) & library.names())
    held = [library.constants[name] for name in library.constants if name in used]
    held += [library.helpers[name] for name in library.helpers if name in used]
    imports_end = above.index(held[0])
    assert above[imports_end:].replace("\n", "") == "".join(held).replace("\n", "")
    assert f"above line {above.count(chr(10)) + 1} " in text.partition("\n\n")[0]


def names_of(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("flow", SHAPED)
def test_flow_has_the_same_part_in_each_file(flow: Flow) -> None:
    parts = {
        runtime: emitted(with_everything(flow), replace(NOTICES, runtime=runtime)).partition(
            "FLOW = "
        )[2]
        for runtime in RUNTIMES
    }
    assert len(set(parts.values())) == 1


def test_shared_runtime_has_all_that_files_import(tmp_path: Path) -> None:
    text = emit_shared_runtime()
    (tmp_path / f"{SHARED_MODULE}.py").write_text(text)
    module = loaded(text, tmp_path / f"{SHARED_MODULE}.py")
    assert [name for name in PUBLIC if not hasattr(module, name)] == []
    assert is_generated(text)
    assert re.search(r"^# Release \d+\.\d+\.\d+, digest [0-9a-f]{12}\.$", text, re.MULTILINE)


def test_comments_of_constants_are_kept() -> None:
    assert "\nSECONDS_TO_STOP = 5.0\n" in emitted(linear_flow())
    line = next(each for each in RUNTIME.splitlines() if each.startswith("PARAMETERS_STEP"))
    assert "#" in line
    assert line in emitted(linear_flow()).splitlines()


def test_ruff_finds_nothing(tmp_path: Path) -> None:
    texts = [emitted(flow_of(*shape)) for shape in SHAPES.values()]
    texts.append(
        emitted(with_everything(flow_of(*SHAPES["nested"])), Options(name="other", tags=("a",)))
    )
    texts += [emitted(linear_flow(name)) for name in ("Config", "json")]
    assert ruff(*texts, directory=tmp_path) == ""


def test_what_is_not_used_is_left_out() -> None:
    module = vars(loaded(emitted(linear_flow())))
    assert "run_step" in module
    for absent in ("DynamicOut", "MANY_RETRIES", "foreach_list", "regrouped", "Field", "Optional"):
        assert absent not in module


@pytest.mark.slow
@pytest.mark.parametrize("name", AWKWARD)
def test_flow_name(name: str) -> None:
    flow = replace(linear_flow(name), parameters=PARAMETERS)
    job_name = name if name.isascii() else "Groesse"
    module = loaded(emitted(flow, Options(name=job_name)))
    assert job_of(module).name == job_name
    assert str(module.parse_task("a/b/c")) == "a/b/c"
    assert module.parameter_text([1]) == "[1]"
    assert module.metaflow_command(module.FLOW, [], ["x"])[-1] == "x"


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [*AWKWARD, *sorted(OP_BODY_NAMES), "context", "config", "self", "input", "output", "type"],
)
def test_step_name(step: str) -> None:
    transitions: Mapping[str, Transition] = {
        "start": Split((step, "other")),
        step: Foreach("body", "xs"),
        "body": Linear("inner"),
        "inner": Linear("join"),
        "other": Linear("join"),
        "join": Linear("end"),
        "end": End(),
    }
    flow = flow_of(transitions, {"inner": step, "join": "start"})
    text = emitted(flow)
    Definitions.validate_loadable(loaded(text).defs)
    assert hidden_names(text) == []


def hidden_names(text: str) -> list[str]:
    """Names of the module that an op refers to in its body, and that a parameter of it hides."""
    return [
        f"{function.name}: {node.id}"
        for function in ast.parse(text).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("op_")
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and node.id in OP_BODY_NAMES
        if node.id in {argument.arg for argument in function.args.args}
    ]


def test_ops_refer_to_nothing_else_of_the_module() -> None:
    for shape in SHAPES.values():
        text = emitted(with_everything(flow_of(*shape)), Options(runtime="installed"))
        for function in ast.parse(text).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("op_"):
                own = {argument.arg for argument in function.args.args} | {"task", "parameters"}
                nodes = [n for statement in function.body for n in ast.walk(statement)]
                used = {node.id for node in nodes if isinstance(node, ast.Name)} - own
                assert used - {"MyFlowConfig"} <= OP_BODY_NAMES


names = st.one_of(
    st.sampled_from(sorted(top_level_names() | set(AWKWARD))),
    st.from_regex(r"[a-z_]{1,3}", fullmatch=True),
).filter(lambda name: name not in ("start", "end") and not keyword.iskeyword(name))


# Shrinking would take minutes.
@pytest.mark.slow
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.data(), st.sampled_from([shape for shape in SHAPES.values() if len(shape[0]) > 3]))
def test_any_names_together(
    data: st.DataObject, shape: tuple[Mapping[str, Transition], Mapping[str, str]]
) -> None:
    transitions, joins = shape
    steps = [step for step in transitions if step not in ("start", "end")]
    chosen = data.draw(
        st.lists(names, min_size=len(steps) + 1, max_size=len(steps) + 1, unique=True)
    )
    renamed = dict(zip(steps, chosen, strict=False))
    flow = with_everything(
        flow_of(
            {renamed.get(a, a): renamed_targets(way, renamed) for a, way in transitions.items()},
            {renamed.get(a, a): renamed.get(b, b) for a, b in joins.items()},
            name=chosen[-1],
        )
    )
    job_name = chosen[-1] if chosen[-1].isascii() else "job_name"
    if job_name in ("config", "context"):
        job_name += "_"
    module = loaded(emitted(flow, Options(name=job_name)))
    Definitions.validate_loadable(definitions_of(module))


def renamed_targets(way: Transition, names: Mapping[str, str]) -> Transition:
    match way:
        case Split(several):
            return Split(tuple(names.get(each, each) for each in several))
        case Switch(several, condition):
            return Switch(tuple(names.get(each, each) for each in several), condition)
        case Linear(target):
            return Linear(names.get(target, target))
        case Foreach(target, artifact):
            return Foreach(names.get(target, target), artifact)
        case Parallel(target):
            return Parallel(names.get(target, target))
        case End():
            return way


def test_no_name_of_the_module_hides_a_builtin() -> None:
    module = loaded(emitted(with_everything(flow_of(*SHAPES["nested"], name="print"))))
    assert set(vars(module)) & set(dir(builtins)) <= {
        "__builtins__",
        "__doc__",
        "__loader__",
        "__name__",
        "__package__",
        "__spec__",
    }


@pytest.mark.parametrize("flow", SHAPED)
def test_text_is_the_same_every_time(flow: Flow) -> None:
    assert emitted(with_everything(flow)) == emitted(with_everything(flow))


def test_sections_are_in_order() -> None:
    text = emitted(with_everything(linear_flow()), NOTICES)
    marks = [
        "# Dagster definitions",
        "import hashlib",
        "from dagster",
        "class Task",
        MARK_OF_FLOW,
        "HERE =",
        "FLOW = FlowSettings(",
        "class MyFlowConfig",
        "def op_start",
        "def op_end",
        "def MyFlow(",
        "MyFlow_schedule = ",
        "def MyFlow_trigger(",
        "def MyFlow_trigger_on_finish(",
        "def MyFlow_notify_on_error(",
        "def MyFlow_notify_on_success(",
        "MyFlow_assets = [",
        "defs = Definitions(",
    ]
    positions = [text.index(mark) for mark in marks]
    assert positions == sorted(positions)
    assert emitted(linear_flow()).endswith(
        "defs = Definitions(assets=MyFlow_assets, jobs=[MyFlow])\n"
    )
