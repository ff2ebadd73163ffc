"""Flows with hostile texts wherever a user can write one: compiled as they are, or refused."""

from __future__ import annotations

import ast
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dagster import Definitions
from hypothesis import example, given
from hypothesis import strategies as st

from metaflow_dagster import CompileError, synthesize
from metaflow_dagster.frontend.json_values import DEEPEST
from metaflow_dagster.frontend.texts import without_surrogates
from tests.flowgen import examples
from tests.hostile import EVALUATED, code_of, encodable, json_values, nothing_evaluated, texts
from tests.unit.flows import flow_class, flow_source
from tests.unit.samples import definitions_of, job_of, loaded


def compiled(directory: Path, source: str, **options: Any) -> Any:
    """The generated module of a flow, in which nothing of a text is code, and which Dagster takes.

    `CompileError` if it is refused.
    """
    with nothing_evaluated(directory):
        flow = flow_class(directory, source)
        try:
            text = synthesize(flow, **{"output": directory / "out.py", **options})
        finally:
            del sys.modules[flow.__module__]
        assert not any(EVALUATED in name for name in code_of(text))
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert all(line.isprintable() for line in comments)
        module = loaded(text, directory / "out.py")
        Definitions.validate_loadable(definitions_of(module))
    return module


def defaults(module: Any) -> dict[str, Any]:
    """The defaults of the flow's parameters, as the config class has them."""
    fields = module.MyFlowConfig.model_fields
    return {field.alias or name: field.default for name, field in fields.items()}


def odd_texts_come_back(directory: Path, one: str, other: str, value: Any) -> None:
    """Compile a flow with these texts and this value of JSON, and find them in what Dagster has."""
    body = (
        f"__doc__ = {one!a}\n"
        f"text = Parameter('text', default={one!a}, help={other!a})\n"
        f"data = Parameter('data', type=JSONType, default={ {'x': value}!a})\n"
        f"c = Config('c', default_value={ {'x': value}!a})\n"
    )
    start = f"@environment(vars={ {'NAME': one}!a})"
    source = flow_source(start, body=body).replace("        pass\n", f"        {other!a}\n")
    module = compiled(directory, source)
    said, _, _place = module.op_end.description.rpartition("Step end, ")
    assert said.rstrip("\n") == without_surrogates(other.strip()).rstrip("\n")
    assert defaults(module) == {"text": one, "data": {"x": value}}
    assert module.FLOW.configs.values["c"][0] == {"x": value}
    said, _, _place = job_of(module).description.rpartition("Flow MyFlow, ")
    assert said.rstrip("\n") == one.strip().rstrip("\n")
    assert (module.MyFlowConfig.model_fields["text"].description or "") == without_surrogates(other)


@pytest.mark.slow
@examples(10)
@given(encodable, texts, json_values)
@example("'\"\\\n\x0c\u2028", '"""\ud800\x00', ["\ud800\x00", '{"env": "HOME"}'])
def test_texts_come_back_from_a_flow(tmp_path: Path, one: str, other: str, value: Any) -> None:
    odd_texts_come_back(tmp_path, one, other, value)


def test_a_text_of_each_kind_comes_back_from_a_flow(tmp_path: Path) -> None:
    odd_texts_come_back(
        tmp_path, "'\"\\\n\x0c\u2028$(touch EVALUATED)", '"""\ud800\x00', ["\ud800\x00"]
    )


@pytest.mark.slow
@examples(15)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": texts,
            "tags": st.lists(texts, max_size=2),
            "decospecs": st.lists(
                st.tuples(
                    st.sampled_from(["", "retry:times=", "card:id=", "environment:"]), texts
                ).map("".join),
                max_size=1,
            ),
            "namespace": texts,
            "origin_run_id": texts.map("dagster-".__add__),
            "workflow_timeout": st.integers(),
            "max_workers": st.integers(),
            "output": texts.map(lambda text: f"{text}.py"),
        },
    )
)
def test_options_are_taken_as_they_are_or_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    try:
        flow = compiled(tmp_path, flow_source(), **options).FLOW
    except CompileError:
        return
    assert list(options.get("tags", [])) == list(flow.run_tags)
    assert options.get("namespace") == flow.namespace


# Of each decorator, what attributes of any type make of it.
_values = st.one_of(
    texts.map(ascii),
    st.sampled_from(
        ["None", "-1", "10**400", "[]", "{1: 2, 'a': 3}", "lambda c: 5", "b'x'", "1.5"]
    ),
)
_decorators = st.sampled_from(
    [
        "@retry(times={})",
        "@retry(minutes_between_retries={})",
        "@timeout(seconds={})",
        "@resources(cpu={})",
        "@environment(vars={})",
        "@environment(vars={{'A': {}}})",
        "@catch(var={})",
        "@card(id={})",
    ]
)
_automations = st.sampled_from(
    [
        "@schedule(cron={})",
        "@schedule(daily=True, timezone={})",
        "@trigger(event={})",
        "@trigger(event={{'name': 'a', 'parameters': {{'text': {}}}}})",
        "@trigger(event={{'name': 'a', 'parameters': {}}})",
        "@trigger(event='a', options={})",
        "@trigger(event='a', options={{'reset_at': {{'cron': {}}}}})",
        "@trigger_on_finish(flow={})",
        "@trigger_on_finish(flow={{'name': 'F', 'project': {}, 'project_branch': 'b'}})",
        "@project(name={})",
    ]
)


@pytest.mark.slow
@examples(15)
@given(st.data())
def test_attributes_of_decorators_are_taken_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    of_step = data.draw(_decorators).format(data.draw(_values))
    of_flow = data.draw(_automations).format(data.draw(_values))
    source = flow_source(of_step, of_flow, "text = Parameter('text', default='a')")
    with suppress(CompileError):
        compiled(tmp_path, source)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("@environment(vars={'A=B': 'x'})", "@environment: 'A=B'='x' cannot be"),
        ("@environment(vars={'A': 'x\\0'})", "@environment: 'A'='x\\x00' cannot be"),
        ("@environment(vars={1: 2, 'a': 'b'})", "@environment: 1=2 cannot be"),
        ("@environment(vars={'A': 'x' * 200_000})", "longer than 100000 bytes"),
        ("@retry(minutes_between_retries='x')", "@retry has 'x' minutes_between_retries"),
        ("@retry(minutes_between_retries=-1)", "@retry has -1 minutes_between_retries"),
        ("@retry(times='x')", "Metaflow cannot start the flow (ValueError: "),
    ],
)
def test_refused_decorators(tmp_path: Path, start: str, message: str) -> None:
    with pytest.raises(CompileError) as refusal:
        synthesize(flow_class(tmp_path, flow_source(start)), output=tmp_path / "out.py")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decospecs": ["retry:times=x"]}, "Metaflow cannot add --with retry:times=x: ValueError"),
        ({"decospecs": ["retry\0"]}, "cannot be an argument"),
        ({"namespace": "x" * 501}, "has 501 characters"),
        ({"workflow_timeout": 10**5000}, "--workflow-timeout is too large"),
        ({"max_workers": 10**10}, "--max-workers is too large"),
        ({"name": "x" * 300}, "is not the name of a file: File name too long"),
        ({"output": "\ud800.py"}, "is not the name of a file"),
    ],
)
def test_refused_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with nothing_evaluated(tmp_path), pytest.raises(CompileError) as refusal:
        synthesize(flow_class(tmp_path, flow_source()), **options)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "options", [{"tags": [5]}, {"name": 5}, {"workflow_timeout": "5"}, {"max_workers": True}]
)
def test_options_of_another_type(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(options))} takes"):
        synthesize(flow_class(tmp_path, flow_source()), output=tmp_path / "out.py", **options)


@pytest.mark.parametrize("name", ["a b", "a=b", "a\n", "", "1a", "$(touch x)", "a\0", "a/b"])
def test_name_that_is_no_option_is_refused(tmp_path: Path, name: str) -> None:
    body = f"p = Parameter({name!a}, default='a')"
    with pytest.raises(CompileError, match="not one that Metaflow's command line takes"):
        compiled(tmp_path, flow_source(body=body))


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "default"),
    [
        pytest.param(f"type=JSONType, default='{nested(DEEPEST)}'", ..., id="as deep as may be"),
        pytest.param(f"type=JSONType, default='{nested(DEEPEST + 1)}'", None, id="too deep"),
        pytest.param("type=JSONType, default='[' * 5000 + ']' * 5000", None, id="far too deep"),
        pytest.param("type=JSONType, default='[1' + '0' * 5000 + ']'", None, id="long number"),
        pytest.param("type=JSONType, default='\"' + 'x' * 200_000 + '\"'", None, id="long JSON"),
        pytest.param("type=JSONType, default='\"hello\"'", '"hello"', id="JSON that is a text"),
        pytest.param("default=10**5000", None, id="number that Python does not write"),
        pytest.param("default=10**400, type=float", None, id="number that is no float"),
        pytest.param("default='x' * 200_000", None, id="text that no variable holds"),
        pytest.param("default='word ' * 9000", "word " * 9000, id="text of many lines"),
    ],
)
def test_defaults_that_are_large(tmp_path: Path, arguments: str, default: Any) -> None:
    module = compiled(tmp_path, flow_source(body=f"p = Parameter('p', {arguments})"))
    found = defaults(module)["p"]
    assert found == default or (default is ... and found is not None)


def test_config_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    body = f"c = Config('c', default_value={{'a': {nested(DEEPEST)}}})"
    with pytest.raises(CompileError, match="Config c is not JSON that a file can hold: it is nest"):
        compiled(tmp_path, flow_source(body=body))


@pytest.mark.parametrize("path", ["b'x'", "'$(touch EVALUATED)'", "'x\\ud800'"])
def test_path_of_a_file_is_a_text(tmp_path: Path, path: str) -> None:
    module = compiled(tmp_path, flow_source(body=f"p = IncludeFile('p', default={path})"))
    assert os.path.basename(defaults(module)["p"]) == os.fsdecode(ast.literal_eval(path))


def test_default_of_a_class_of_the_flow_becomes_plain(tmp_path: Path) -> None:
    body = "class D(dict): pass\np = Parameter('p', type=JSONType, default=D(a=1))"
    assert type(defaults(compiled(tmp_path, flow_source(body=body)))["p"]) is dict


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes")
def test_names_of_files_are_texts(tmp_path: Path) -> None:
    directory = tmp_path / "d '\"$(touch EVALUATED)\n`x`\udcff"
    directory.mkdir()
    module = compiled(directory, flow_source(), output="-o '$(touch EVALUATED).py")
    assert Path(module.FLOW.file).parent == directory
