"""Which flows make a code location, and what its files are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.compilation import Compilation, hand_over, take_over
from metaflow_dagster.diagnostics import CompileError
from metaflow_dagster.location import merge as merge_module
from metaflow_dagster.location.merge import FlowsNotCompiled, Location, merged, module_names
from metaflow_dagster.location.process import FlowNotCompiled
from metaflow_dagster.options import Options
from tests.unit.samples import linear_flow


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"A": "a_dagster", "B": "b_dagster"}, {"A": "a_dagster", "B": "b_dagster"}),
        pytest.param(
            {"a": "a_dagster", "A": "a_dagster"}, {"A": "a_dagster", "a": "a_dagster_"}, id="same"
        ),
        pytest.param({"1st": "1st_dagster"}, {"1st": "_1st_dagster"}, id="no identifier"),
    ],
)
def test_module_names(modules: dict[str, str], names: dict[str, str]) -> None:
    assert module_names(modules) == names
    assert module_names(dict(reversed(modules.items()))) == names


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The job of each flow file, which are compiled without their processes."""
    jobs: dict[str, str] = {}

    def compiled(
        flow_file: str, options: Options, directory: Path, *, output: str | None
    ) -> Compilation:
        if flow_file not in jobs:
            raise FlowNotCompiled(flow_file, "It is\nwrong.\n")
        job = jobs[flow_file]
        path = directory / (output or f"{job.lower()}_dagster.py")
        return Compilation(linear_flow(), job, path, f"# {job} in {path.name}", "")

    monkeypatch.setattr(merge_module, "compile_flow", compiled)
    return jobs


def located(directory: Path, *flow_files: str) -> Location:
    return merged(flow_files, Options(), directory)


def test_definitions_come_last(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs.update({"b.py": "A", "a.py": "B"})
    location = located(tmp_path, "a.py", "b.py")
    assert [file.name for file in location.texts] == [
        "a_dagster.py",
        "b_dagster.py",
        "definitions.py",
    ]
    assert location.definitions == tmp_path / "definitions.py"
    assert [each.job_name for each in location.compilations] == ["A", "B"]
    assert list(tmp_path.iterdir()) == []


def test_order_of_the_flows_makes_no_difference(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs.update({"a.py": "A", "b.py": "a", "c.py": "C"})
    texts = located(tmp_path, "a.py", "b.py", "c.py").texts
    assert located(tmp_path, "c.py", "b.py", "a.py").texts == texts
    assert texts[tmp_path / "a_dagster_.py"] == "# a in a_dagster_.py"


def test_stale_files_are_generated_ones(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs.update({"a.py": "A", "b.py": "B"})
    for file, text in located(tmp_path, "a.py", "b.py").texts.items():
        file.write_text(text)
    (tmp_path / "own_dagster.py").write_text("print()\n")
    (tmp_path / "old_dagster.py").write_text((tmp_path / "definitions.py").read_text())
    assert located(tmp_path, "a.py").stale == [tmp_path / "old_dagster.py"]


def test_all_that_fail_are_shown(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs["a.py"] = "A"
    with pytest.raises(FlowsNotCompiled) as caught:
        located(tmp_path, "b.py", "a.py", "c.py")
    said = "{} is not compiled:\n    It is\n    wrong."
    assert str(caught.value) == f"{said.format('b.py')}\n\n{said.format('c.py')}"


def refused(directory: Path, *flow_files: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        located(directory, *flow_files)
    return list(map(str, caught.value.diagnostics))


def test_same_jobs_are_refused(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs.update({"a.py": "A", "b.py": "B", "c.py": "A"})
    (fault,) = refused(tmp_path, "a.py", "b.py", "c.py")
    assert fault.startswith("a.py and c.py have the same job, A. ")


def test_same_file_is_refused(tmp_path: Path, jobs: dict[str, str]) -> None:
    jobs["a.py"] = "A"
    assert refused(tmp_path, "a.py", "a.py") == ["a.py is named 2 times. Name it once."]


def test_a_flow_is_not_replaced(tmp_path: Path, jobs: dict[str, str]) -> None:
    (tmp_path / "a_dagster.py").touch()
    jobs.update({"a.py": "A", str(tmp_path / "a_dagster.py"): "B"})
    (fault,) = refused(tmp_path, *jobs)
    assert "a_dagster.py is one of the flows" in fault


def test_options_are_refused_once(tmp_path: Path, jobs: dict[str, str]) -> None:
    with pytest.raises(CompileError) as caught:
        merged(["a.py", "b.py"], Options(max_workers=0), tmp_path)
    assert len(caught.value.diagnostics) == 1


def test_directory_has_to_be_there(tmp_path: Path, jobs: dict[str, str]) -> None:
    (fault,) = refused(tmp_path / "nowhere", "a.py")
    assert fault.endswith("nowhere does not exist. Create it, or name another.")


def test_compilation_is_handed_over(tmp_path: Path) -> None:
    compilation = Compilation(linear_flow(), "A", tmp_path / "a_dagster.py", "größe", "")
    assert take_over(tmp_path / "file") is None
    hand_over(compilation, tmp_path / "file")
    assert take_over(tmp_path / "file") == compilation
