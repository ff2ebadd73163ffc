from __future__ import annotations

import pytest

from metaflow_dagster.diagnostics import CompileError, Diagnostic, InternalError, raise_if_any
from metaflow_dagster.ir.flow import Location

PLAIN = Diagnostic("It is wrong.", "Fix it.")
PLACED = Diagnostic("It is wrong.", "Fix it.", "fit", Location("/a/flow.py", 7))


@pytest.mark.parametrize(
    ("diagnostic", "text"),
    [
        pytest.param(PLAIN, "It is wrong. Fix it.", id="plain"),
        pytest.param(PLACED, "/a/flow.py:7: step fit: It is wrong. Fix it.", id="placed"),
    ],
)
def test_text(diagnostic: Diagnostic, text: str) -> None:
    assert str(diagnostic) == text


def test_nothing_is_raised_without_a_diagnostic() -> None:
    raise_if_any(iter(()))


def test_all_are_raised_together() -> None:
    with pytest.raises(CompileError) as raised:
        raise_if_any(iter([PLAIN, PLACED]))
    assert raised.value.diagnostics == (PLAIN, PLACED)
    assert str(raised.value) == f"{PLAIN}\n{PLACED}"


def test_internal_error_asks_for_a_report() -> None:
    assert "please report it" in str(InternalError("The plan is broken."))
