"""What commands read of files, homes and arguments that are not as they should be."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow._vendor.click.testing import CliRunner
from metaflow.exception import MetaflowException

from metaflow_dagster import synthesize
from metaflow_dagster.cli.list_runs import list_runs
from metaflow_dagster.operate.definitions import load_job, start_op
from metaflow_dagster.operate.deployed import (
    DeployedJob,
    job_in_file,
    note_deployment,
    noted_deployments,
    read_compiled,
)
from metaflow_dagster.operate.errors import DagsterUnavailable, DeploymentNotFound, RunNotStarted
from metaflow_dagster.operate.served import ServedFlow, ServedParameter
from metaflow_dagster.operate.stand_in import write_stand_in
from metaflow_dagster.operate.target import open_target
from tests.flowgen import examples
from tests.golden import FIXTURES
from tests.hostile import EVALUATED, code_of, nothing_evaluated, texts
from tests.unit.flows import flow_class, flow_source

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a definitions file."""
    directory = tmp_path_factory.mktemp("flow")
    return synthesize(flow_class(directory, flow_source()), output=directory / "out.py")


@pytest.fixture(scope="module")
def earlier() -> str:
    """The text of a definitions file of a release that wrote no record."""
    (file,) = (FIXTURES / "earlier").glob("*_dagster.py")
    return file.read_text(encoding="utf-8")


def written(directory: Path, content: bytes) -> Path:
    """A file of that content, which no other has had the name of."""
    file = directory / f"damaged_{next(_NUMBERS)}.py"
    file.write_bytes(content)
    return file


@st.composite
def damages(draw: st.DrawFn) -> Any:
    """A function that damages the content of a file, mostly near what is read of it."""
    kind = draw(st.sampled_from(["cut", "removed", "inserted", "constant"]))
    place, length = draw(st.floats(0, 1)), draw(st.integers(1, 200))
    inserted = draw(st.one_of(st.binary(max_size=9), texts.map(_bytes)))

    def damaged(content: bytes) -> bytes:
        at = int(place * len(content))
        match kind:
            case "cut":
                return content[:at]
            case "removed":
                return content[:at] + content[at + length :]
            case "inserted":
                return content[:at] + inserted + content[at:]
            case _:
                head = re.match(b".?", content)
                assert head is not None
                constants = list(
                    re.finditer(rb'(?m)^# \{"flow".*|^[A-Z_]+\b.*|^    \w+=.*', content)
                )
                start, end = [*constants, head][int(place * len(constants))].span()
                at = start + length % (end - start + 1)
                return content[:at] + inserted + content[at:]

    return damaged


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.slow
@examples(60)
@given(st.lists(damages(), min_size=1, max_size=3))
def test_damaged_file_is_read_or_is_none(tmp_path: Path, compiled: str, many: list[Any]) -> None:
    content = compiled.encode()
    for damage in many:
        content = damage(content)
    file = written(tmp_path, content)
    with nothing_evaluated(tmp_path):
        found = read_compiled(file)
    if found is not None:
        assert re.fullmatch(r"\w+", found.record.job)
        assert str(found.deployments).endswith(f"mf.dagster/{found.record.job}")
    file.unlink()


@pytest.mark.slow
@examples(12)
@given(st.lists(damages(), min_size=1, max_size=2))
def test_damaged_file_is_loaded_or_refused(tmp_path: Path, compiled: str, many: list[Any]) -> None:
    content = compiled.encode()
    for damage in many:
        content = damage(content)
    file = written(tmp_path, content)
    said = ""
    with nothing_evaluated(tmp_path):
        try:
            start_op(load_job(file, "MyFlow", None).definition)
        except RunNotStarted as error:
            said = str(error)
    assert not said or str(file) in said or "ops with nothing before them" in said


@pytest.mark.parametrize(
    "record",
    [
        "{",
        '{"flow":',
        '{"flow":"MyFlow"}',
        '{"flow":"MyFlow","file":1}',
        '{"flow":"MyFlow","file":"a.py","more":"b"}',
        '{"flow":"MyFlow","file":"a.py","job":"../../precious"}',
        r'{"flow":"MyFlow","file":"a.py","job":"a\u0000"}',
        '{"flow":"MyFlow","file":"a.py","job":""}',
        '{"flow":"MyFlow","file":"a.py","datastore":"nope"}',
        '{"flow":' + "[" * 5000,
    ],
)
def test_records_that_no_compiled_file_has(tmp_path: Path, compiled: str, record: str) -> None:
    text, count = re.subn(r'(?m)^# \{"flow":.*$', lambda _: f"# {record}", compiled)
    assert count == 1
    assert read_compiled(written(tmp_path, _bytes(text))) is None


def changed(earlier: str, name: str, value: str) -> bytes:
    """The file with another value of a constant."""
    text, count = re.subn(rf"(?m)^{name}\b(: [^=]*)? = .*$", lambda _: f"{name} = {value}", earlier)
    assert count == 1
    return _bytes(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("JOB_NAME", '"../../precious"', id="job that leads elsewhere"),
        pytest.param("JOB_NAME", r'"a\0"', id="job with NUL"),
        pytest.param("JOB_NAME", '""', id="no job"),
        pytest.param("FLOW_FILE", "os.path.join()", id="path of nothing"),
        pytest.param("FLOW_FILE", "open('EVALUATED', 'w')", id="code"),
        pytest.param("FLOW_NAME", "+".join(["'a'"] * 5000), id="endless sum"),
        pytest.param("FLOW_NAME", "-" * 100_000 + "1", id="what exhausts the parser"),
        pytest.param("FLOW_NAME", "(" * 5000, id="brackets"),
    ],
)
def test_constants_that_no_compiled_file_has(
    tmp_path: Path, earlier: str, name: str, value: str
) -> None:
    assert read_compiled(written(tmp_path, _bytes(earlier))) is not None
    with nothing_evaluated(tmp_path):
        assert read_compiled(written(tmp_path, changed(earlier, name, value))) is None


@pytest.mark.parametrize("kept", ["", '"--datastore=nope",', '"--metadata=local"'])
def test_arguments_that_no_compiled_file_has(tmp_path: Path, earlier: str, kept: str) -> None:
    text = re.sub(r'(?m)^    "--datastore=local",$', f"    {kept}", earlier)
    assert text != earlier
    assert read_compiled(written(tmp_path, text.encode())) is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda file: os.symlink(file.name, file)])
def test_what_is_no_file(tmp_path: Path, make: Any) -> None:
    file = tmp_path / "definitions.py"
    make(file)
    assert read_compiled(file) is None
    with pytest.raises(RunNotStarted, match="There is no definitions file"):
        load_job(file, "MyFlow", None)


@pytest.mark.parametrize("name", ["x" * 300, "a\0", "\ud800"])
def test_what_is_no_name_of_a_file(name: str) -> None:
    assert job_in_file(f"{name}.py:MyFlow") is None
    with pytest.raises(RunNotStarted, match="There is no definitions file"):
        load_job(Path(f"{name}.py"), "MyFlow", None)


_TWO_STARTS = """
from dagster import Definitions, job, op

@op
def work(): ...

@job(tags={"metaflow/flow": "MyFlow"})
def one():
    work()
    work()

defs = Definitions(jobs=[one])
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit(3)", "cannot be loaded (SystemExit: 3)"),
        ("class Mine(BaseException): ...\nraise ValueError('a\\ud800')", "(ValueError: a"),
        ("def f(): f()\nf()", "cannot be loaded (RecursionError"),
        (_TWO_STARTS, "has 2 ops with nothing before them"),
    ],
)
def test_files_that_do_something_else(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text.encode())
    with pytest.raises(RunNotStarted) as refusal:
        start_op(load_job(file, "MyFlow", None).definition)
    assert message in str(refusal.value)


def test_file_whose_name_dagster_cannot_store(tmp_path: Path, compiled: str) -> None:
    file = tmp_path / os.fsdecode(b"a\xff.py")
    file.write_text(compiled)
    with pytest.raises(RunNotStarted, match="whose name is not UTF-8"):
        load_job(file, "MyFlow", None)
    (tmp_path / "home").mkdir()
    note_deployment(tmp_path / "home", DeployedJob("MyFlow", "MyFlow", file))
    assert [deployment.definitions_file for deployment in noted_deployments(tmp_path / "home")] == [
        file
    ]


@pytest.mark.parametrize(
    "note",
    [
        b"[]",
        b"5",
        b"\xff",
        b"[" * 100_000,
        b'{"definitions_file": [], "job": 1}',
        b'{"definitions_file": "a\\u0000", "job": "MyFlow"}',
        b'{"definitions_file": "\\ud800", "job": "MyFlow"}',
    ],
)
def test_notes_that_nobody_has_left(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed" / "MyFlow-0.json").write_bytes(note)
    assert noted_deployments(tmp_path) == []


def use(home: Path, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Ask a home for what the commands do, after something has happened to it."""
    with open_target(None, {"DAGSTER_HOME": str(home)}) as target:
        meanwhile()
        target.runs_tagged("a", "b", 5)
        target.publish("orders", {"id": "x"})


def refusal(home: Path) -> str:
    """What is said of a home that cannot be used; nothing if it can."""
    try:
        use(home)
    except MetaflowException as error:
        return str(error)
    return ""


@pytest.mark.slow
@examples(12)
@given(
    st.one_of(
        st.binary(max_size=20),
        texts.map(_bytes),
        st.tuples(
            st.sampled_from(["storage", "run_storage", "run_launcher", "telemetry", "retention"]),
            st.sampled_from(
                [
                    "5",
                    "[]",
                    "{sqlite: 5}",
                    "{sqlite: {base_dir: {env: NOPE}}}",
                    "{module: os, class: path, config: {}}",
                    "{module: os, class: getcwd}",
                    "{module: nope, class: path}",
                    "!!python/object/apply:os.mkdir ['EVALUATED']",
                ]
            ),
        ).map(lambda pair: ": ".join(pair).encode()),
    )
)
def test_configurations_of_a_home(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_bytes(text)
    with nothing_evaluated(home):
        said = refusal(home)
    assert not said or str(home) in said


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dagster.yaml", b"\xff\xfe"),
        ("dagster.yaml", b"run_storage: {module: os, class: path, config: {}}"),
        ("history/runs.db", b"garbage" * 99),
        ("history", b""),
    ],
)
def test_damaged_homes(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content)
    assert str(tmp_path) in refusal(tmp_path)


def test_home_that_is_damaged_while_it_is_open(tmp_path: Path) -> None:
    def damage() -> None:
        (tmp_path / "history" / "runs.db").write_bytes(b"garbage" * 99)

    with pytest.raises(DagsterUnavailable, match=r"The history in .* cannot be used: "):
        use(tmp_path, damage)


@pytest.mark.parametrize("home", ["relative", "/" + "x" * 5000, "/dev/null", "/nope\udcff"])
def test_what_is_no_home(home: str) -> None:
    with pytest.raises(DagsterUnavailable, match="not the absolute path of a directory"):
        use(Path(home))


@pytest.mark.parametrize("limit", ["0", "-1", "9" * 30, "x"])
def test_limits_that_no_database_takes(limit: str) -> None:
    result = CliRunner().invoke(list_runs, ["--limit", limit])
    assert (result.exit_code, "Invalid value for '--limit'" in result.output) == (2, True)


@examples(60)
@given(
    st.lists(
        st.tuples(texts, st.sampled_from(["Int", "String", "Any"]) | texts, st.booleans()),
        max_size=3,
    )
)
def test_what_a_server_says_becomes_no_code(
    tmp_path: Path, said: list[tuple[str, str, bool]]
) -> None:
    file = write_stand_in(
        tmp_path,
        ServedFlow(
            "MyFlow",
            tuple(ServedParameter(*each) for each in said),
            tuple(name for name, _, _ in said),
        ),
    )
    text = file.read_text(encoding="utf-8")
    assert not any(EVALUATED in name for name in code_of(text))
    for name, _, _ in said:
        assert repr(name) in text


@pytest.mark.parametrize("flow", ["class", "a b", "", "A(x): ...\nimport os#"])
def test_what_is_no_flow_becomes_no_code(tmp_path: Path, flow: str) -> None:
    with pytest.raises(DeploymentNotFound, match="is not the name of a flow"):
        write_stand_in(tmp_path, ServedFlow(flow, (), ()))


def test_notes_are_json(tmp_path: Path) -> None:
    job = DeployedJob("MyFlow", "MyFlow", Path("/a'\"\n\udcff.py"))
    note_deployment(tmp_path, job)
    (note,) = (tmp_path / "deployed").iterdir()
    assert json.loads(note.read_text())["definitions_file"] == str(job.definitions_file)
