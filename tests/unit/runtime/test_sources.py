from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.sources import code_references, flow_description, step_description
from tests.unit.samples import settings_of

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


@pytest.fixture
def flow(tmp_path: Path) -> FlowSettings:
    """A flow that has a step of its base, both in the directory of the generated file."""
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "base.py").write_text(BASE)
    return settings_of(
        name="Flow",
        file=str(tmp_path / "flow.py"),
        here=str(tmp_path),
        next_steps={"start": [["end"]], "end": [[]]},
        inherited_steps={"end": [str(tmp_path / "base.py"), "Base.Inner"]},
    )


def test_descriptions_say_where_the_code_is(flow: FlowSettings) -> None:
    assert flow_description(flow) == "Flow Flow, flow.py:6"
    assert step_description(flow, "start", "Begins.\n") == "Begins.\n\nStep start, flow.py:8"
    assert step_description(flow, "end") == "Step end, base.py:3"


def test_code_that_python_warns_of_is_read_in_silence(
    flow: FlowSettings, recwarn: pytest.WarningsRecorder
) -> None:
    Path(flow.file).write_text(FLOW.replace("pass", "'\\d'"))
    assert step_description(flow, "start") == "Step start, flow.py:8"
    assert not recwarn.list


def test_code_can_be_opened(flow: FlowSettings, recwarn: pytest.WarningsRecorder) -> None:
    start, end = code_references(flow).code_references
    assert (start.file_path, start.line_number) == (flow.file, 8)  # type: ignore[union-attr]
    assert (end.label, end.line_number) == ("end", 3)  # type: ignore[union-attr]
    assert not recwarn.list


@pytest.mark.parametrize("content", [None, b"class Flow(:", b"\xff", b"a = '\0'"])
def test_file_that_cannot_be_read_has_no_lines(content: bytes | None, flow: FlowSettings) -> None:
    file = Path(flow.file)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert step_description(flow, "start", "Begins.") == "Begins.\n\nStep start, flow.py"
    reference, _ = code_references(flow).code_references
    assert reference.line_number is None  # type: ignore[union-attr]
