from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from metaflow.util import decompress_list

from metaflow_dagster.runtime.command import (
    adopt_settings,
    input_options,
    metaflow_command,
    process_environment,
    tag_options,
)
from metaflow_dagster.runtime.flow_code import CodePackage
from tests.unit.samples import FLOW_FILE, settings_of


@pytest.mark.parametrize("count", [1, 2, 3, 50_000])
def test_input_options(count: int) -> None:
    paths = [f"dagster-{i:06}/step{i % 7}/fit-{i}" for i in range(count)]
    with input_options(paths) as (option,):
        assert len(option.encode()) < 128 * 1024
        name, _, value = option.partition("=")
        if name == "--input-paths-filename":
            assert count > 3
            value = Path(value).read_text()
        assert decompress_list(value) == paths


def test_input_options_of_very_many_tasks() -> None:
    paths = [f"run/step/step-{i}" for i in range(100)]
    with input_options(paths, longest=20) as (option,):
        name, _, file = option.partition("=")
        assert name == "--input-paths-filename"
        assert decompress_list(Path(file).read_text()) == paths
    assert not Path(file).exists()


def test_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = settings_of(variables={"A": "baked", "B": "baked"})
    monkeypatch.setenv("A", "inherited")
    monkeypatch.setenv("C", "inherited")
    environment = process_environment(flow, {"B": "step"})
    assert [environment[each] for each in "ABC"] == ["baked", "step", "inherited"]
    assert environment["METAFLOW_RUNTIME_NAME"] == "dagster"
    assert environment["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)


@pytest.mark.parametrize(
    ("variable", "user", "metaflow_user"),
    [
        pytest.param("OTHER", "somebody", "dagster", id="none"),
        pytest.param("USER", "root", "dagster", id="root"),
        pytest.param("SUDO_USER", "somebody", None, id="sudo"),
        pytest.param("USERNAME", "somebody", None, id="name"),
        pytest.param("USER", "somebody", None, id="user"),
    ],
)
def test_user(
    variable: str, user: str, metaflow_user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("metaflow.metaflow_config.USER", None)
    monkeypatch.setenv(variable, user)
    assert process_environment(settings_of(), {}).get("METAFLOW_USER") == metaflow_user


def test_user_of_the_environment_is_found_without_metaflow() -> None:
    code = """
        import sys
        from metaflow_dagster.runtime.command import process_environment
        from metaflow_dagster.runtime.settings import FlowSettings
        process_environment(FlowSettings("F", "f.py", ".", "end", {}), {})
        sys.exit("metaflow" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, env={**os.environ, "USER": "somebody"}, check=True)


def test_commands() -> None:
    flow = settings_of(run_tags=["a b", "c"], metadata="service", top_options=["--branch=x"])
    assert tag_options(flow) == ["--tag=a b", "--tag=c"]
    assert metaflow_command(flow, ["--with=x"], ["init"]) == [
        *(sys.executable, FLOW_FILE, "--quiet", "--no-pylint"),
        *("--metadata=service", "--environment=local", "--datastore=local"),
        *("--event-logger=nullSidecarLogger", "--monitor=nullSidecarMonitor"),
        *("--branch=x", "--with=x", "init"),
    ]
    stored = metaflow_command(settings_of(datastore="s3", datastore_root="s3://b/c"), [], ["init"])
    assert stored[6:8] == ["--datastore=s3", "--datastore-root=s3://b/c"]


def test_code_package_is_searched_before_what_a_step_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    metadata = '{"version": 0, "archive_format": "tgz", "mfcontent_version": 1}'
    code = CodePackage("abc", metadata)
    flow = settings_of(file=str(tmp_path / "none.py"), code=code)
    monkeypatch.setenv("PYTHONPATH", "/inherited")
    paths = process_environment(flow, {"PYTHONPATH": "/named"})["PYTHONPATH"].split(os.pathsep)
    assert paths == [os.path.join(code.directory(flow), ".mf_code"), "/named"]


def test_process_of_another_flow_is_not_used_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, other = (
        settings_of(is_delivered=True, variables={"METAFLOW_UI_URL": f"http://{name}"})
        for name in ("one", "other")
    )
    monkeypatch.setenv("METAFLOW_UI_URL", "http://inherited")
    monkeypatch.setenv("METAFLOW_DAGSTER_ADOPTED", "1 {}")  # of the process that has started this
    adopt_settings(flow)
    with monkeypatch.context() as unimported:
        unimported.delitem(sys.modules, "metaflow")
        adopt_settings(flow)
    adopt_settings(flow)
    with pytest.raises(RuntimeError, match="--max-tasks-per-child=1"):
        adopt_settings(other)


def test_settings_are_adopted_before_metaflow_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = settings_of(variables={"METAFLOW_UI_URL": "http://baked"})
    monkeypatch.setenv("METAFLOW_UI_URL", "http://inherited")
    adopt_settings(flow)
    assert os.environ["METAFLOW_UI_URL"] == "http://inherited"
    monkeypatch.delitem(sys.modules, "metaflow")
    adopt_settings(flow)
    assert os.environ["METAFLOW_UI_URL"] == "http://baked"
