from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.runtime.store import SYSROOT, Store, local_sysroot, nearest_metadata, store_of
from tests.unit.samples import settings_of


def test_local_sysroot(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    flow = settings_of(file=str(inner / "flow.py"))
    (tmp_path / ".metaflow").mkdir()
    assert local_sysroot(flow) == str(tmp_path)
    assert nearest_metadata("local@/elsewhere", flow.file) == [f"local@{tmp_path}"]
    assert nearest_metadata("service@http://x", flow.file) == []
    (tmp_path / "a" / ".metaflow").touch()
    assert local_sysroot(flow) == str(tmp_path), "a file is no datastore"
    (inner / ".metaflow").mkdir()
    assert local_sysroot(flow) == str(inner)
    assert store_of(flow) == Store("local", f"{inner}/.metaflow")


def test_configured_local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaflow.metaflow_config.DATASTORE_SYSROOT_LOCAL", "/configured")
    assert local_sysroot(settings_of()) == "/configured"
    monkeypatch.setenv(SYSROOT, "/inherited")
    assert local_sysroot(settings_of()) == "/inherited"
    assert local_sysroot(settings_of(variables={SYSROOT: "/baked"})) == "/baked"


def test_root_goes_before_what_is_configured() -> None:
    flow = settings_of(datastore="s3", datastore_root="s3://b/c", variables={SYSROOT: "/baked"})
    assert store_of(flow) == Store("s3", "s3://b/c")


def test_blobs(tmp_path: Path) -> None:
    store = Store("local", str(tmp_path / "store"))
    assert store.read("a/b") is None
    for content in (b"first", b"", b"\0other"):
        store.write("a/b", content)
        assert store.read("a/b") == content
        assert Path(store.address("a/b")).read_bytes() == content
