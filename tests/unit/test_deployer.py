"""What the Deployer API says of deployments, without deploying anything."""

from __future__ import annotations

import ast
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from metaflow_dagster import deployer
from metaflow_dagster.cli.delete import _to_delete
from metaflow_dagster.deploying import create
from metaflow_dagster.generated import MARK
from metaflow_dagster.operate import stand_in
from metaflow_dagster.operate.deployed import (
    DeployedJob,
    find_deployment,
    forget_deployment,
    job_in_file,
    note_deployment,
    noted_deployments,
    read_compiled,
)
from metaflow_dagster.operate.errors import DeploymentNotFound, NotDeleted
from metaflow_dagster.operate.served import ServedFlow, ServedParameter, served_parameters
from metaflow_dagster.options import Surface, options_of
from metaflow_dagster.triggered_run import DagsterTriggeredRun
from tests.golden import FIXTURES

GOLDEN = sorted((FIXTURES / "golden").glob("*_dagster.py"))

COMPILED = """
HERE = os.path.dirname(os.path.abspath(__file__))
FLOW_FILE = os.path.normpath(os.path.join(HERE, "..", "flows", "prices.py"))
FLOW_NAME = "PricesFlow"
JOB_NAME = "Prices"
METAFLOW_TOP_ARGS: list[str] = [
    "--quiet",
    "--datastore=local",
    "--datastore-root=" + os.path.join(HERE, "a", "b=c"),
]
"""

HEADER = f"# Dagster definitions\n{MARK}\n"


def compiled_file(directory: Path, text: str = COMPILED) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / "prices_dagster.py"
    file.write_text(text)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_a_compiled_file_says(file: Path) -> None:
    compiled = read_compiled(file)
    assert compiled is not None
    assert compiled.flow_file.is_file()
    flows = ast.parse(compiled.flow_file.read_text("utf-8")).body
    assert compiled.record.flow in {each.name for each in flows if isinstance(each, ast.ClassDef)}
    assert f'    name="{compiled.record.job}",' in file.read_text("utf-8")
    assert compiled.is_generated


def test_paths_follow_the_compiled_file(tmp_path: Path) -> None:
    file = compiled_file(tmp_path / "definitions")
    compiled = read_compiled(file)
    assert compiled is not None
    assert compiled.job == DeployedJob("PricesFlow", "Prices", file)
    assert compiled.flow_file == tmp_path / "flows" / "prices.py"
    assert compiled.datastore_root == f"{tmp_path}/definitions/a/b=c"
    assert not compiled.is_generated


@pytest.mark.parametrize(
    "text", ["", "no Python", "FLOW_NAME = 1", COMPILED.replace('"Prices"', "1 + 1"), "\0"]
)
def test_files_of_others(text: str, tmp_path: Path) -> None:
    assert read_compiled(compiled_file(tmp_path, text)) is None
    assert read_compiled(tmp_path) is None


def test_notes(tmp_path: Path) -> None:
    file = compiled_file(tmp_path / "definitions")
    job = DeployedJob("PricesFlow", "Prices", file)
    assert list(noted_deployments(tmp_path)) == []
    note_deployment(tmp_path, job)
    note_deployment(tmp_path, job)
    (tmp_path / "deployed" / "broken.json").write_text("[1]")
    assert list(noted_deployments(tmp_path)) == [job]

    file.write_text(COMPILED.replace('"Prices"', '"Others"'))
    assert list(noted_deployments(tmp_path)) == []  # the file has become that of another job
    file.write_text(COMPILED)
    forget_deployment(tmp_path, job)
    forget_deployment(tmp_path, job)
    assert list(noted_deployments(tmp_path)) == []


def test_finding_a_deployment(tmp_path: Path) -> None:
    file = compiled_file(tmp_path)
    near = DeployedJob("PricesFlow", "Prices", file)
    here, there = (DeployedJob("PricesFlow", "Prices", location=name) for name in ("a.py", "b.py"))
    other = DeployedJob("OtherFlow", "Other", location="a.py")
    assert job_in_file(near.identifier) == near
    assert job_in_file(f"{file}:Other") is None
    assert job_in_file("Prices") is None
    assert find_deployment([here, there, other], "Other") == other
    assert find_deployment([here, there, other], "b.py:Prices") == there
    with pytest.raises(DeploymentNotFound, match=r"More than one .*a\.py:Prices, b\.py:Prices"):
        find_deployment([here, there], "Prices")
    with pytest.raises(DeploymentNotFound, match=r"No job nope is deployed.*: a\.py:Other"):
        find_deployment([other], "nope")
    with pytest.raises(DeploymentNotFound, match="it knows none"):
        find_deployment([], f"{file}:Other")


SCHEMA: Mapping[str, Any] = {
    "rootConfigType": {"key": "root"},
    "allConfigTypes": [
        {"key": "String"},
        {"key": "root", "fields": [{"name": "ops", "configTypeKey": "o", "isRequired": True}]},
        {"key": "o", "fields": [{"name": "op_start", "configTypeKey": "s", "isRequired": True}]},
        {"key": "s", "fields": [{"name": "config", "configTypeKey": "c", "isRequired": True}]},
        {
            "key": "c",
            "fields": [
                {"name": "city", "configTypeKey": "String", "isRequired": True},
                {"name": "my-count", "configTypeKey": "Noneable.Int", "isRequired": False},
                {"name": "options", "configTypeKey": "Any", "isRequired": False},
            ],
        },
    ],
}


def test_parameters_of_a_job_on_a_server() -> None:
    assert list(served_parameters(SCHEMA, "op_start")) == [
        ServedParameter("city", "String", True),
        ServedParameter("my-count", "Int", False),
        ServedParameter("options", "Any", False),
    ]
    assert list(served_parameters(SCHEMA, "op_other")) == []
    assert list(served_parameters({"__typename": "PythonError"}, "op_start")) == []


STEPS = ("no name: #", "start", "load", "city", "end")  # as a server says them


def test_stand_in_holds_what_a_server_says_as_values(tmp_path: Path) -> None:
    nasty = "'''); import os; os.abort() #\n"
    parameters = [ServedParameter("my-count", "Int", True), ServedParameter(nasty, nasty, False)]
    file = stand_in.write_stand_in(tmp_path, ServedFlow("PricesFlow", tuple(parameters), STEPS))
    flow = next(node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef))
    given = [ast.unparse(node.value) for node in flow.body if isinstance(node, ast.Assign)]
    assert flow.name == "PricesFlow"
    assert given == [
        "Parameter('my-count', type=int, required=True)",
        f"Parameter({nasty!r}, type=JSONType, required=False)",
    ]
    names = [node.name for node in flow.body if isinstance(node, ast.FunctionDef)]
    assert names == ["start", "load", "city", "end"]
    with pytest.raises(DeploymentNotFound, match="is not the name of a flow"):
        stand_in.write_stand_in(tmp_path, ServedFlow(nasty, (), ()))


def test_stand_in_calls_parameters_as_metaflow_stores_them(tmp_path: Path) -> None:
    names = ["size", "my-count", "next", "city", "class"]
    parameters = tuple(ServedParameter(name, "Int", False) for name in names)
    file = stand_in.write_stand_in(tmp_path, ServedFlow("PricesFlow", parameters, STEPS))
    flow = next(node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef))
    assigned = [ast.unparse(node.targets[0]) for node in flow.body if isinstance(node, ast.Assign)]
    assert assigned == ["size", "parameter_1", "parameter_2", "parameter_3", "parameter_4"]


class Nowhere:
    """A deployer that knows of no file."""

    url = None
    env_vars: Mapping[str, str] = {}
    additional_info: Mapping[str, str] = {}


@pytest.fixture
def triggered() -> DagsterTriggeredRun:
    content = {
        "name": "Prices",
        "metadata": None,
        "pathspec": "PricesFlow/dagster-1",
        "dagster_run_id": "x-y",
        "dagster_url": "http://localhost:1/runs/x-y",
    }
    return DagsterTriggeredRun(Nowhere(), json.dumps(content))


def test_attributes_of_a_triggered_run(triggered: DagsterTriggeredRun) -> None:
    assert triggered.dagster_run_id == "x-y"
    assert triggered.dagster_url == "http://localhost:1/runs/x-y"
    assert triggered.run is None


def test_values_of_parameters_that_are_called_as_options() -> None:
    assert deployer._text({"a": [1]}) == '{"a": [1]}'
    assert deployer._text([1, None]) == "[1, null]"
    assert [deployer._text(each) for each in (True, 1.5, "x=y")] == ["True", "1.5", "x=y"]
    assert {"name", "url", "wait", "run_params"} <= deployer._OPTIONS


def test_arguments_of_the_deployer() -> None:
    from metaflow import Deployer

    with pytest.raises(TypeError, match="namespace"):
        Deployer(os.devnull).dagster(namespace="x")


@pytest.mark.parametrize(
    ("text", "flow", "name", "message"),
    [
        (None, "PricesFlow", None, r"There is no .*Name the file to delete"),
        ("print()", "PricesFlow", None, "is not as `dagster create` writes files"),
        (COMPILED, "PricesFlow", None, "is not as `dagster create` writes files"),
        (HEADER + COMPILED, "OtherFlow", None, "is of the flow PricesFlow, not of OtherFlow"),
        (HEADER + COMPILED, "PricesFlow", "Other", "has the job Prices, not Other"),
    ],
)
def test_what_is_not_deleted(
    text: str | None, flow: str, name: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "prices_dagster.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(NotDeleted, match=message):
        _to_delete(file, flow, name)
    assert file.exists() == (text is not None)


def test_what_is_deleted(tmp_path: Path) -> None:
    file = compiled_file(tmp_path, HEADER + COMPILED)
    assert _to_delete(file, "PricesFlow", "Prices").file == file


def test_create_has_the_options_of_a_compilation_but_the_name_of_its_deployer() -> None:
    described = inspect.getdoc(create) or ""
    for option in options_of(Surface.DEPLOYER):
        assert f"\n{option.name} : " in described
    nobody: Any = object()
    with pytest.raises(TypeError, match=r"takes no name: give it to Deployer"):
        create(nobody, name="other")
    with pytest.raises(TypeError, match="no_such_option"):
        cast(Any, create)(nobody, no_such_option=1)
