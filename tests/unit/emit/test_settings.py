from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaflow_dagster.emit.place import Place
from metaflow_dagster.ir.flow import Backend
from metaflow_dagster.options import Options
from metaflow_dagster.runtime.command import metaflow_command
from tests.unit.samples import emitted, linear_flow, loaded

MOVED = "/moved/here/my_flow_dagster.py"


@pytest.mark.parametrize(
    ("file", "project", "flow_file"),
    [
        pytest.param("/project/out.py", "/project", "/moved/here/flows/my_flow.py", id="below"),
        pytest.param("/project/jobs/out.py", "/project", "/moved/flows/my_flow.py", id="above"),
        pytest.param("/other/out.py", "/other", "/project/flows/my_flow.py", id="elsewhere"),
    ],
)
def test_flow_file_moves_with_the_project(file: str, project: str, flow_file: str) -> None:
    text = emitted(linear_flow(), place=Place(Path(file), Path(project)))
    assert flow_file == loaded(text, MOVED).FLOW.file


@pytest.mark.parametrize(
    ("root", "moved"),
    [
        pytest.param(None, None, id="default"),
        pytest.param("/project/store", "/moved/here/store", id="in the project"),
        pytest.param("/data", "/data", id="elsewhere"),
        pytest.param("s3://bucket/x", "s3://bucket/x", id="address"),
    ],
)
def test_datastore_root(root: str | None, moved: str | None) -> None:
    flow = linear_flow(backend=Backend(datastore_root=root), top_options=("--branch=a b",))
    settings = loaded(emitted(flow), MOVED).FLOW
    assert settings.datastore_root == moved
    command = metaflow_command(settings, ["--with=retry"], ["step"])[2:]
    assert command[:3] == ["--quiet", "--no-pylint", "--metadata=local"]
    assert command[-3:] == ["--branch=a b", "--with=retry", "step"]
    roots = [option for option in command if option.startswith("--datastore-root")]
    assert roots == ([f"--datastore-root={moved}"] if moved else [])


def test_environment_tags_and_namespace() -> None:
    backend = Backend(local_sysroot="/project", settings=(("METAFLOW_X", "é"),))
    text = emitted(linear_flow(backend=backend), Options(tags=("a",), namespace=""))
    settings = loaded(text, MOVED).FLOW
    assert settings.variables == {
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": "/moved/here",
        "METAFLOW_X": "é",
    }
    assert (settings.run_tags, settings.namespace) == (["a"], "")


def test_what_is_as_by_default_is_left_out() -> None:
    statement = emitted(linear_flow()).partition("FLOW = ")[2].partition("\n\n\n")[0]
    given = re.findall(r"^    (\w+)=", statement, re.MULTILINE)
    assert given == ["name", "file", "here", "end_event", "next_steps"]


def test_defaults_of_the_backend_are_those_of_the_settings() -> None:
    backend = Backend()
    settings = loaded(emitted(linear_flow(backend=backend))).FLOW
    for field in ("metadata", "environment", "datastore", "event_logger", "monitor"):
        assert getattr(settings, field) == getattr(backend, field)
