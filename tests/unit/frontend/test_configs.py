"""Configs: their values at compile time, and those that must not stand in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from metaflow_dagster import synthesize
from metaflow_dagster.ir.flow import Config
from tests.support import checked
from tests.unit.flows import flow_class, flow_source, read, refused


@pytest.mark.parametrize(
    ("value", "place"),
    [
        pytest.param("{'db': {'password': 'x'}}", "c.db.password", id="by its name"),
        pytest.param("{'access_key': 'x'}", "c.access_key", id="two words"),
        pytest.param("{'urls': ['redis://u:p@host']}", "c.urls", id="by its content, in a list"),
    ],
)
def test_credentials_are_refused(value: str, place: str, tmp_path: Path) -> None:
    body = f"c = Config('c', default_value={value})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(body=body)))
    assert f"Config {place} looks like a credential" in str(diagnostic)


def test_value_that_is_not_json_is_refused(tmp_path: Path) -> None:
    body = "c = Config('c', default_value='x', parser=lambda text: {'a': {1, 2}})"
    (diagnostic,) = refused(flow_class(tmp_path, flow_source(body=body)))
    assert "Config c is not JSON" in str(diagnostic)


@pytest.mark.parametrize(
    ("arguments", "value", "is_plain"),
    [
        pytest.param("default_value={'key': 1, 'token': ''}", {"key": 1, "token": ""}, False),
        pytest.param("default_value='[1]', plain=True", "[1]", True, id="plain"),
        pytest.param("default_value='a=1', parser=pairs", {"a": "1"}, False, id="parsed"),
        pytest.param("", None, False, id="not given"),
    ],
)
def test_values(arguments: str, value: object, is_plain: bool, tmp_path: Path) -> None:
    body = f"pairs = lambda text: dict([text.split('=')])\nc = Config('c', {arguments})"
    flow = read(flow_class(tmp_path, flow_source(body=body)))
    assert flow.configs == (Config("c", value, is_plain),)  # type: ignore[arg-type]


def test_class_takes_other_values_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "c = Config('c', default_value={'a': 1})\np = Parameter('p', default=config_expr('c.a'))"
    flow = flow_class(tmp_path, flow_source(body=body))
    first = synthesize(flow, output=tmp_path / "out.py")
    monkeypatch.setenv("METAFLOW_FLOW_CONFIG_VALUE", json.dumps({"c": {"a": 2}}))
    second = synthesize(flow, output=tmp_path / "out.py")
    assert '"c": ({"a": 1}, False)' in first
    assert "p: int = 1" in first
    assert '"c": ({"a": 2}, False)' in second
    assert "p: int = 2" in second


@pytest.mark.slow
def test_command_line_repeats_how_configs_were_given(tmp_path: Path) -> None:
    body = "c = Config('c', default_value={})\nd = Config('d', default_value={})"
    (tmp_path / "flow.py").write_text(flow_source(body=body), encoding="utf-8")
    (tmp_path / "d.json").write_text('{"b": 2}')
    given = ["--config-value", "c", '{"a": 1}', "--config", "d", "d.json"]
    checked([sys.executable, "flow.py", *given, "dagster", "create", "out.py"], tmp_path)
    text = (tmp_path / "out.py").read_text(encoding="utf-8")
    assert '"c": ({"a": 1}, False), "d": ({"b": 2}, False)' in text
    header = [line.strip("# \\") for line in text.splitlines()[:12]]
    assert header[5:12] == [*given[:2], "'{\"a\": 1}'", *given[3:], "dagster create out.py"]
