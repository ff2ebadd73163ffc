from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.emit.place import Place, place_of

PLACE = Place(Path("/project/jobs/my_flow_dagster.py"), Path("/project"))


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        pytest.param("/elsewhere/flow.py", None, id="elsewhere"),
        pytest.param("/project2/flow.py", None, id="the name only starts like the project's"),
        pytest.param("/", None, id="above"),
        pytest.param("flow.py", None, id="relative already"),
        pytest.param("/project/jobs/flow.py", "flow.py", id="beside"),
        pytest.param("/project/jobs/a/b.py", "a/b.py", id="below"),
        pytest.param("/project/flow.py", "../flow.py", id="in the directory above"),
        pytest.param("/project/flows/größe x.py", "../flows/größe x.py", id="in another directory"),
        pytest.param("/project", "..", id="the project"),
        pytest.param("/project/jobs", ".", id="the directory"),
    ],
)
def test_relative(path: str, relative: str | None) -> None:
    assert PLACE.relative(path) == relative


@pytest.mark.parametrize("marker", [".git", "pyproject.toml", "setup.py", "setup.cfg"])
def test_project_is_where_the_nearest_marker_is(tmp_path: Path, marker: str) -> None:
    (tmp_path / "setup.cfg").touch()
    (tmp_path / "inner" / "jobs").mkdir(parents=True)
    (tmp_path / "inner" / marker).touch()
    file = tmp_path / "inner" / "jobs" / "out.py"
    assert place_of(file) == Place(file, tmp_path / "inner")


def test_without_a_marker_the_directory_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("a/../out.py") == Place(tmp_path / "out.py", tmp_path)
