from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaflow_dagster.frontend import backend
from metaflow_dagster.ir.flow import Backend
from tests.unit.flows import flow_class, flow_source, read

SECRETS = {
    "METAFLOW_SERVICE_AUTH_KEY": "sesame-1",
    "METAFLOW_SERVICE_HEADERS": '{"x-api-key": "sesame-2"}',
    "METAFLOW_SERVICE_URL": "https://me:sesame-3@service.example/api",
    "METAFLOW_S3_ENDPOINT_URL": "https://sesame-4@store.example",
    "METAFLOW_ARGO_EVENTS_WEBHOOK_AUTH": "sesame-5",
    "METAFLOW_AZURE_STORAGE_ACCOUNT_KEY": "sesame-6",
    "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT": "https://a.example/?sv=2024&sig=sesame-10",
    "METAFLOW_SERVICE_INTERNAL_URL": "https://service.example/#token=sesame-11",
    "METAFLOW_DATATOOLS_S3ROOT": "s3://bucket?unknown=sesame-12",
    "AWS_ACCESS_KEY_ID": "sesame-7",
    "AWS_SECRET_ACCESS_KEY": "sesame-8",
    "AWS_SESSION_TOKEN": "sesame-9",
}


def compiled(directory: Path, **environment: str) -> str:
    """The text that a process with this environment writes for a flow."""
    flow = flow_class(directory, flow_source())
    file = Path(sys.modules[flow.__module__].__file__ or "")
    subprocess.run(
        [sys.executable, str(file), "dagster", "create", "out.py"],
        cwd=directory,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    return (directory / "out.py").read_text()


def test_no_credential_is_written(tmp_path: Path) -> None:
    text = compiled(tmp_path, **SECRETS, METAFLOW_UI_URL="https://ui.example")
    assert "sesame" not in text
    assert '"METAFLOW_UI_URL": "https://ui.example"' in text


def test_no_setting_could_hold_a_credential_by_its_name() -> None:
    for name in backend._SETTINGS:
        assert not {"KEY", "TOKEN", "SECRET", "PASSWORD", "HEADERS", "AUTH"} & set(name.split("_"))


def test_default(tmp_path: Path) -> None:
    assert read(flow_class(tmp_path, flow_source())).backend == Backend()


@pytest.mark.parametrize(
    ("variable", "value", "root"),
    [
        pytest.param("METAFLOW_DATASTORE_ROOT", "/data", "/data", id="absolute"),
        pytest.param("METAFLOW_DATASTORE_ROOT", "data", "{here}/data", id="relative"),
    ],
)
def test_datastore_root(
    variable: str, value: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    flow = read(flow_class(tmp_path, flow_source()))
    assert flow.backend.datastore_root == root.format(here=tmp_path)


@pytest.mark.slow
def test_sysroot_in_the_project_is_relative_to_the_file(tmp_path: Path) -> None:
    text = compiled(tmp_path, METAFLOW_DATASTORE_SYSROOT_LOCAL=str(tmp_path / "store"))
    assert '"METAFLOW_DATASTORE_SYSROOT_LOCAL": os.path.join(HERE, "store")' in text
    assert str(tmp_path) not in text
