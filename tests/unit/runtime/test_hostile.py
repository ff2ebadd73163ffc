"""What ops and sensors read that others have written: values, tags, payloads, files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from dagster import Config, Failure
from hypothesis import example, given
from hypothesis import strategies as st

from metaflow_dagster.deployment import NotDeployed, deployments
from metaflow_dagster.ir.flow import Backend
from metaflow_dagster.names import is_run_id
from metaflow_dagster.runtime.command import LONGEST_ARGUMENT, unfit
from metaflow_dagster.runtime.event_log import (
    UnusableCursor,
    read_cursor,
    written_cursor,
)
from metaflow_dagster.runtime.events import StartConfig, UnusablePayload, event_id, parameter_values
from metaflow_dagster.runtime.failures import readable
from metaflow_dagster.runtime.history import tagged_run_id
from metaflow_dagster.runtime.identities import read_identity
from metaflow_dagster.runtime.io_manager import read_output
from metaflow_dagster.runtime.limits import MAX_RUNTIME, tagged_seconds
from metaflow_dagster.runtime.notices import WEBHOOK_VARIABLE, NotNotified, send_notice
from metaflow_dagster.runtime.parameters import parameter_variables
from metaflow_dagster.runtime.process import check_fit
from metaflow_dagster.runtime.settings import RESUME_STEP_TAG, RUN_ID_TAG
from metaflow_dagster.runtime.steps import tagged_step
from metaflow_dagster.runtime.tasks import Task, metaflow_run_id, parse_task
from tests.flowgen import examples
from tests.hostile import arguments, json_values, texts

BYTES = st.one_of(
    st.binary(max_size=30),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
)


@examples(60)
@given(st.text(st.characters(exclude_categories=())) | texts)
@example("\udcff")
@example("x" * LONGEST_ARGUMENT)
def test_what_is_fit_reaches_a_process_as_it_is(text: str) -> None:
    if unfit(text):
        assert "\0" in text or not _is_encodable(text) or len(text) > 20_000
        return
    check_fit([text], {"NAME": text[:100]})
    assert os.fsdecode(os.fsencode(text)) == text


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\0", "it has a NUL in it"),
        ("\ud800", "it contains a lone surrogate"),
        ("x" * 100_001, "it has 100001 bytes"),
        (["x" * 100_001], "bytes, and 100000 is the most"),
    ],
)
def test_value_that_no_run_can_be_given(value: Any, problem: str) -> None:
    with pytest.raises(Failure) as refusal:
        parameter_variables({"fine": "x", "city": value})
    said = str(refusal.value.description)
    assert said.startswith("Parameter city cannot be given to the run: ")
    assert problem in said
    assert refusal.value.allow_retries is False


@examples(30)
@given(st.dictionaries(st.sampled_from(["city", "my-size"]), arguments | json_values))
def test_values_that_a_run_can_be_given(values: dict[str, Any]) -> None:
    try:
        variables = parameter_variables(values)
    except Failure:
        assert any(isinstance(each, str) and unfit(each) for each in values.values())
        return
    for name, value in values.items():
        text = variables[{"city": "METAFLOW_INIT_CITY", "my-size": "METAFLOW_INIT_MY_SIZE"}[name]]
        assert text == value if isinstance(value, str) else json.loads(text) == value


@pytest.mark.parametrize("text", ["a\0", "\ud800", "x" * 100_001])
def test_argument_from_a_tag_is_refused_before_anything_starts(text: str) -> None:
    for command, variables in (([f"--tag={text}"], {}), (["step"], {"NAME": text})):
        with pytest.raises(Failure, match="A process cannot be given ") as refusal:
            check_fit(command, variables)
        assert len(str(refusal.value.description)) < 300


def test_value_of_a_variable_is_not_shown() -> None:
    with pytest.raises(Failure) as refusal:
        check_fit([], {"METAFLOW_PRODUCTION_TOKEN": "secret\0"})
    assert "METAFLOW_PRODUCTION_TOKEN" in str(refusal.value.description)
    assert "secret" not in str(refusal.value.description)


@examples(30)
@given(texts)
@example("--help")
@example("--run-id=x")
def test_step_of_a_tag_is_no_option(text: str) -> None:
    if text.isidentifier():
        assert tagged_step({RESUME_STEP_TAG: text}) == text
        return
    with pytest.raises(Failure, match="names no step"):
        tagged_step({RESUME_STEP_TAG: text})


@examples(30)
@given(texts)
@example("../../x")
@example("dagster-1\n")
@example("dagster-1/../x")
def test_run_of_a_tag_is_none_of_other_texts(text: str) -> None:
    assert tagged_run_id({RUN_ID_TAG: text}) is None


@pytest.mark.parametrize(
    ("text", "is_id"),
    [("dagster-" + "a" * 100, True), ("dagster-" + "a" * 101, False), ("dagster-", False)],
)
def test_run_of_a_tag_is_one_that_the_commands_take(text: str, is_id: bool) -> None:
    assert is_run_id(text) is is_id
    assert tagged_run_id({RUN_ID_TAG: text}) == (text if is_id else None)


def test_run_of_a_tag() -> None:
    assert tagged_run_id({RUN_ID_TAG: metaflow_run_id("x")}) == metaflow_run_id("x")
    assert tagged_run_id({}) is None


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "x", "", "1e999", "\ud800"])
def test_limit_that_is_none(text: str) -> None:
    assert tagged_seconds({MAX_RUNTIME: text}) is None


@examples(120)
@given(st.one_of(texts, json_values.map(json.dumps), st.just("[" * 100_000)), st.data())
def test_cursor_is_one_that_was_written_or_refused(text: str, data: st.DataObject) -> None:
    whole = written_cursor(read_cursor(None, ["a", "b"]), [], {"a": 5})
    place = data.draw(st.integers(0, len(whole)))
    for each in (text, whole[:place] + text + whole[place:], whole[:place]):
        try:
            cursor = read_cursor(each, ["a", "b"])
        except UnusableCursor as refusal:
            said = str(refusal)
            assert "dagster sensor cursor --delete" in said
        else:
            again = read_cursor(written_cursor(cursor, [], cursor.waiting), ["a", "b"])
            assert again.waiting == cursor.waiting


@examples(60)
@given(BYTES)
@example(b'{"owner": "a\\u0000", "production_token": "b"}')
@example(b'{"owner": null, "production_token": "b"}')
def test_identity_is_two_texts_or_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_identity(content)


@pytest.mark.parametrize(
    "content", [b"\xff", b"[" * 100_000, b'{"owner": 5, "production_token": ""}']
)
def test_damaged_identity_is_told_when_a_job_is_deployed(tmp_path: Path, content: bytes) -> None:
    place = deployments(Backend(datastore_root=str(tmp_path)), str(tmp_path / "a.py"), "MyJob")
    (tmp_path / "mf.dagster").mkdir()
    (tmp_path / "mf.dagster" / "MyJob").write_bytes(content)
    with pytest.raises(NotDeployed, match="does not say who deployed job MyJob"):
        place.load()


@examples(60)
@given(BYTES)
@example(b'"dagster-1/start/')
def test_output_is_json_or_refused(content: bytes) -> None:
    try:
        value = read_output("mf.dagster.outputs/x", content)
    except Failure as refusal:
        assert "mf.dagster.outputs/x" in str(refusal.description)  # noqa: PT017
    else:
        assert repr(value) == repr(json.loads(content))


@examples(40)
@given(json_values | texts)
def test_path_of_a_task_is_one_or_refused(value: Any) -> None:
    if isinstance(value, str) and value.count("/") == 2:
        assert str(parse_task(value)) == value
        return
    with pytest.raises(ValueError, match="is no path of a task"):
        parse_task(value)


def test_damaged_store_is_told() -> None:
    with pytest.raises(Failure) as refusal, readable(Task("dagster-1", "start", "start")):
        json.loads("{")
    said = str(refusal.value.description)
    assert "task dagster-1/start/start cannot be read (JSONDecodeError: " in said


class FlowConfig(Config):
    label: str = "none"
    data: Any = None


CONFIG = StartConfig("op_start", FlowConfig)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("label", "a\0"),
        ("label", "\ud800"),
        ("label", "x" * 100_001),
        ("data", '"\ud800"'),
        ("data", f'"{"x" * 100_001}"'),
    ],
)
def test_payload_that_no_run_can_be_given_starts_none(parameter: str, value: str) -> None:
    with pytest.raises(UnusablePayload, match=f"does not fit parameter {parameter}: it "):
        parameter_values({parameter: "field"}, CONFIG, {"field": value})


@pytest.mark.parametrize("value", [{"env": "HOME"}, [{"env": "HOME"}], '{"env": "HOME"}'])
def test_payload_is_no_question_for_a_variable(value: Any) -> None:
    values = parameter_values({"label": "a", "data": "a"}, CONFIG, {"a": value})
    text = value if isinstance(value, str) else json.dumps(value)
    assert values == {"label": text, "data": value}


@examples(40)
@given(texts)
@example("Up/dagster-1/end/\ud800")
@example("Up/dagster-1/end/\0")
def test_id_of_the_end_of_a_run_can_be_stored(id: str) -> None:
    """Dagster makes a tag of it, which a database may not take: no look would come to an end."""
    if id.isprintable() and id.count("/") == 3 and len(id) <= 200:
        assert event_id("run", {"id": id}, 5) == id
        return
    with pytest.raises(UnusablePayload, match="does not name the task"):
        event_id("run", {"id": id}, 5)


@pytest.mark.parametrize(
    "url",
    [
        "file:///dev/null",
        "ftp://127.0.0.1/sesame",
        "data:,sesame",
        "http://127.0.0.1:9/s\u00e9same",
        "http://" + "a" * 70 + ".invalid/sesame",
        "http://[sesame",
        "javascript:sesame",
    ],
)
def test_what_is_no_webhook(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEBHOOK_VARIABLE, url)
    with pytest.raises(NotNotified) as refusal:
        send_notice({"text": "x"}, (None,))
    assert str(refusal.value) == f"{WEBHOOK_VARIABLE} is not the URL of a webhook."
    assert refusal.value.__cause__ is None
