from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.emit.place import Place
from metaflow_dagster.ir.flow import Backend
from metaflow_dagster.options import Options
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
    assert flow_file == loaded(text, MOVED).FLOW_FILE


@pytest.mark.parametrize(
    ("root", "option"),
    [
        pytest.param(None, None, id="default"),
        pytest.param("/project/store", "--datastore-root=/moved/here/store", id="in the project"),
        pytest.param("/data", "--datastore-root=/data", id="elsewhere"),
        pytest.param("s3://bucket/x", "--datastore-root=s3://bucket/x", id="address"),
    ],
)
def test_datastore_root(root: str | None, option: str | None) -> None:
    flow = linear_flow(backend=Backend(datastore_root=root), top_options=("--branch=a b",))
    arguments = loaded(emitted(flow), MOVED).METAFLOW_TOP_ARGS
    assert [one for one in arguments if "root" in one] == ([option] if option else [])
    assert arguments[:3] == ["--quiet", "--no-pylint", "--metadata=local"]
    assert arguments[-1] == "--branch=a b"


def test_environment_tags_and_namespace() -> None:
    backend = Backend(local_sysroot="/project", settings=(("METAFLOW_X", "é"),))
    text = emitted(linear_flow(backend=backend), Options(tags=("a",), namespace=""))
    module = loaded(text, MOVED)
    assert module.METAFLOW_STEP_ENV == {
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": "/moved/here",
        "METAFLOW_X": "é",
    }
    assert (module.RUN_TAGS, module.NAMESPACE) == (["a"], "")
