"""What is said when the command line of a flow does not compile it."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.location.process import FlowNotCompiled, compile_flow
from metaflow_dagster.options import Options


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("", "It has no flow", id="nothing"),
        pytest.param("raise SystemExit('no such thing')", "no such thing", id="a message"),
        pytest.param("import os; os._exit(3)", "ended with code 3", id="silence"),
        pytest.param("import os; os.write(1, b'\\xff'); 1 / 0", "ZeroDivision", id="error"),
    ],
)
def test_no_compilation(source: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    file.write_text(source)
    with pytest.raises(FlowNotCompiled) as caught:
        compile_flow(str(file), Options(), tmp_path)
    first, *rest = str(caught.value).splitlines()
    assert first == f"{file} is not compiled:"
    assert said in "\n".join(rest)
    assert all(line.startswith("    ") for line in rest)
    assert [path.name for path in tmp_path.iterdir()] == ["flow.py"]
