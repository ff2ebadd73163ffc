from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.runtime import sources
from metaflow_dagster.runtime.sources import code_references, flow_description, step_description

FLOW = """\
from base import Base

class Other:
    def start(self): pass

class Flow(Base):
    @step
    def start(self):
        pass
"""
BASE = "class Base:\n    class Inner:\n        def end(self): pass\n"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a flow and its base, beside which the generated file is."""
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "base.py").write_text(BASE)
    own = {"end": [str(tmp_path / "base.py"), "Base.Inner"]}
    monkeypatch.setattr("metaflow_dagster.runtime.command.FLOW_FILE", str(tmp_path / "flow.py"))
    monkeypatch.setattr(sources, "STEP_SOURCES", own)
    monkeypatch.setattr(sources, "HERE", str(tmp_path))
    sources.source_lines.cache_clear()
    return tmp_path


def test_descriptions_say_where_the_code_is() -> None:
    assert flow_description() == "Flow Flow, flow.py:6"
    assert step_description("start", "Begins.\n") == "Begins.\n\nStep start, flow.py:8"
    assert step_description("end") == "Step end, base.py:3"


def test_code_that_python_warns_of_is_read_in_silence(
    directory: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (directory / "flow.py").write_text(FLOW.replace("pass", "'\\d'"))
    assert step_description("start") == "Step start, flow.py:8"
    assert not recwarn.list


def test_code_can_be_opened(directory: Path, recwarn: pytest.WarningsRecorder) -> None:
    start, end = code_references("start", "end").code_references
    assert (start.file_path, start.line_number) == (str(directory / "flow.py"), 8)  # type: ignore[union-attr]
    assert (end.label, end.line_number) == ("end", 3)  # type: ignore[union-attr]
    assert not recwarn.list


@pytest.mark.parametrize("content", [None, b"class Flow(:", b"\xff", b"a = '\0'"])
def test_file_that_cannot_be_read_has_no_lines(content: bytes | None, directory: Path) -> None:
    file = directory / "flow.py"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert step_description("start", "Begins.") == "Begins.\n\nStep start, flow.py"
    (reference,) = code_references("start").code_references
    assert reference.line_number is None  # type: ignore[union-attr]
