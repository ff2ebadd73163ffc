from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from metaflow_dagster.files import (
    check_module_name,
    check_output,
    check_replaced,
    difference,
    replaced_at_the_end,
)
from metaflow_dagster.generated import MARK, is_generated_file


def write(path: Path, text: str) -> None:
    with replaced_at_the_end(path, text):
        pass


@pytest.fixture
def flow_file(tmp_path: Path) -> Path:
    file = tmp_path / "flow.py"
    file.write_text("flow")
    return file


def faults(path: Path, flow_file: Path) -> list[str]:
    return list(map(str, check_output(path, str(flow_file))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("flow.py", "is the flow itself", id="the flow"),
        pytest.param("sub/../flow.py", "is the flow itself", id="the flow by a detour"),
        pytest.param("link.py", "is the flow itself", id="the flow by a link"),
        pytest.param("sub", "is a directory", id="directory"),
        pytest.param("sub.py", "is a directory", id="directory with a Python name"),
        pytest.param("nowhere/out.py", "does not exist", id="directory that does not exist"),
        pytest.param("flow.py/out.py", "does not exist", id="file for a directory"),
        pytest.param("out.txt", "not the name of a Python file", id="other suffix"),
        pytest.param("out", "not the name of a Python file", id="no suffix"),
        pytest.param(".py", "not the name of a Python file", id="nothing but the suffix"),
        pytest.param("a\0.py", "not the name of a file", id="NUL"),
        pytest.param("dangling.py", "does not exist", id="link to nowhere"),
    ],
)
def test_refused(name: str, message: str, tmp_path: Path, flow_file: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub.py").mkdir()
    (tmp_path / "link.py").symlink_to(flow_file)
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere" / "out.py")
    (fault,) = faults(tmp_path / name, flow_file)
    assert message in fault


@pytest.mark.parametrize("name", ["out.py", "größe ✓.py", "flow2.py", "a.b.py"])
def test_accepted(name: str, tmp_path: Path, flow_file: Path) -> None:
    assert faults(tmp_path / name, flow_file) == []


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        pytest.param("defs = ...\n", True, id="by hand"),
        pytest.param(f"# Mine: not '{MARK}'\n", True, id="about generated files"),
        pytest.param(f"{'x = 1' * 9}\n" * 5 + MARK, True, id="marked further down"),
        pytest.param(f"# Definitions\n{MARK}\n", False, id="generated"),
        pytest.param(f"# Definitions\r\n{MARK}\r\n", False, id="checked out with CRLF"),
        pytest.param("", False, id="empty"),
    ],
)
def test_what_was_written_by_hand_is_kept(text: str, is_kept: bool, tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    assert list(check_replaced(file)) == []
    file.write_bytes(text.encode())
    said = [str(each) for each in check_replaced(file)]
    assert [("out.py was not written by this command" in each) for each in said] == [True] * is_kept


def test_files_of_earlier_versions_are_generated() -> None:
    golden = sorted((Path(__file__).parents[2] / "fixtures" / "golden").rglob("*.py"))
    assert golden
    assert [file for file in golden if not is_generated_file(file)] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("json", "belongs to Python"),
        ("metaflow", "is installed"),
        ("dagster", "is installed"),
        ("yaml", "is installed"),  # which Dagster imports
        ("helpers", "the flow imports"),
        ("lazily", "the flow imports"),
        ("workers", "has the executor"),
        ("helpers.more", None),
        ("part", None),
        ("definitions", None),
        ("train_dagster", None),
    ],
)
def test_module_is_not_shadowed(name: str, why: str | None, tmp_path: Path) -> None:
    flow_file = tmp_path / "train.py"
    flow_file.write_text(
        "import json, helpers.more as more\nfrom .part import b\ndef f():\n    import lazily\n"
    )
    found = list(check_module_name(tmp_path / f"{name}.py", str(flow_file), "workers"))
    assert [why in str(each) for each in found if why] == [True] * bool(why)
    assert bool(found) == bool(why)


def test_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    write(tmp_path / "out.py", "größe\n")
    (tmp_path / "other").touch()
    assert (tmp_path / "out.py").read_bytes() == "größe\n".encode()
    assert (tmp_path / "out.py").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_mode_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    file.touch(mode=0o640)
    file.chmod(0o750)
    write(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o750)


def test_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.py", tmp_path / "link.py"
    target.write_text("old")
    link.symlink_to(target)
    write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_link_may_lead_to_another_file_system(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        target = Path(elsewhere, "target.py")
        (tmp_path / "link.py").symlink_to(target)
        write(tmp_path / "link.py", "new")
        assert target.read_text() == "new"


def test_readers_see_the_old_text_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    file.write_text("old")
    with file.open() as opened:
        write(file, "new")
        assert opened.read() == "old"


def test_old_file_stays_where_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(file, "new \ud800")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.py"]


def test_file_is_replaced_when_the_block_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    file.write_text("old")
    with replaced_at_the_end(file, "new"):
        assert file.read_text() == "old"
    assert file.read_text() == "new"


def test_file_is_not_replaced_when_the_block_fails(tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    file.write_text("old")
    with pytest.raises(KeyError), replaced_at_the_end(file, "new"):
        raise KeyError
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.py"]


def test_block_does_not_begin_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replaced_at_the_end(tmp_path / "no" / "out.py", "new"):
        raise AssertionError("the block was entered")


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        pytest.param(b"a\nb\n", "a\nb\n", [], id="same"),
        pytest.param(b"a\nb\n", "a\nc\n", ["-b", "+c"], id="a line"),
        pytest.param(b"a", "a\n", ["-a", "+a"], id="line end at the end"),
        pytest.param(b"\xff\n", "a\n", ["-\ufffd", "+a"], id="no text"),
        pytest.param(None, "a\n", ["+a"], id="no file"),
    ],
)
def test_difference(old: bytes | None, new: str, changed: list[str], tmp_path: Path) -> None:
    file = tmp_path / "out.py"
    if old is not None:
        file.write_bytes(old)
    lines = difference(file, new).splitlines()
    assert [line for line in lines[2:] if line[0] in "+-"] == changed
    assert bool(lines) == bool(changed)


def test_carriage_returns_are_a_difference(tmp_path: Path) -> None:
    (tmp_path / "out.py").write_bytes(b"a\r\n")
    assert difference(tmp_path / "out.py", "a\n")
