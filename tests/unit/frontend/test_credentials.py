"""What looks like a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.frontend.credentials import (
    holds_secret,
    is_plain_setting,
    is_secret_entry,
    secret_entries,
)
from metaflow_dagster.ir.flow import DefaultValue, LeftToMetaflow
from tests.unit.flows import flow_class, flow_source, read


@pytest.mark.parametrize(
    "text",
    [
        "https://ann:sesame@host/x",
        "postgres://sesame@db",
        "https://store.blob.core.windows.net/?sv=2024&sp=rl&sig=sesame",
        "https://store/x?sig=sesame",
        "?sv=2024&sig=sesame",
        "https://host/#access_token=sesame",
        "https://host/cb#state=1&token=sesame",
        "https://s3/b?X-Amz-Credential=sesame",
        "https://s3/b?X-Amz-Signature=sesame",
        "https://s3/b?X-Amz-Security-Token=sesame",
        "https://api/?key=sesame",
        "https://api/?api-key=sesame",
        "https://api/?apikey=sesame",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=sesame==",
        "Endpoint=sb://x/;SharedAccessKeyName=root;SharedAccessKey=sesame",
        "BlobEndpoint=https://x/;SharedAccessSignature=sv=2&sig=sesame",
        "host=db user=ann password=sesame",
        "Server=db;Uid=ann;Pwd=sesame",
        "--token=sesame",
    ],
)
def test_secret_in_a_text(text: str) -> None:
    assert holds_secret(text)
    assert not is_plain_setting(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/path",
        "s3://bucket/a/b",
        "https://host/#/flows",
        "registry/image@sha256:abc",
        "me@example.org",
        "arn:aws:iam::1:role/x",
        "",
    ],
)
def test_plain_text(text: str) -> None:
    assert not holds_secret(text)
    assert is_plain_setting(text)


@pytest.mark.parametrize("text", ["https://host/?page=2&sort=key", "monkey=3", "a = b", "sigma=1"])
def test_text_that_names_something_else(text: str) -> None:
    assert not holds_secret(text)


@pytest.mark.parametrize(
    "name", ["api_token", "api-token", "apiToken", "db.password", "dbPassword"]
)
def test_names_of_credentials(name: str) -> None:
    assert is_secret_entry(name, "x")
    assert not is_secret_entry(name.replace("oken", "eam").replace("assword", "art"), "x")


def test_paths_of_credentials() -> None:
    value = {"db": [{"url": "x?sig=sesame"}, {"token": ""}], "rate": 1, "token": "sesame"}
    assert list(secret_entries("c", value)) == ["c.db.url", "c.token"]


@pytest.mark.parametrize(
    ("arguments", "is_baked"),
    [
        ("'api_key', default='sesame'", False),
        ("'api-key', default=lambda _: 'sesame'", False),
        ("'database', default='db://ann:sesame@host'", False),
        ("'options', type=JSONType, default={'token': 'sesame'}", False),
        ("'api_key', default=''", True),
        ("'tokens', default='sesame'", True),
        ("'token', default=512", True),
    ],
)
def test_default_that_looks_like_a_credential(
    arguments: str, is_baked: bool, tmp_path: Path
) -> None:
    flow = read(flow_class(tmp_path, flow_source(body=f"p = Parameter({arguments})")))
    (parameter,) = flow.parameters
    assert isinstance(parameter.default, DefaultValue if is_baked else LeftToMetaflow)


def test_root_of_the_datastore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_DATASTORE_ROOT", f"{tmp_path}/?sig=sesame")
    with pytest.raises(CompileError, match="root of the datastore has a credential") as caught:
        read(flow_class(tmp_path, flow_source()))
    assert "sesame" not in str(caught.value)
