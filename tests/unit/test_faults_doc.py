"""docs/reliability.md says what the tests of faults say."""

from __future__ import annotations

from tests.faults_doc import DOCUMENT, FILES, ROOT, document, faults, found_in


def test_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "make docs writes it"


def test_document_has_all_tests_of_faults() -> None:
    directory = ROOT / "tests" / "faults"
    files = {str(file.relative_to(ROOT)) for file in directory.glob("test_*.py")}
    assert files - {*FILES} == {"tests/faults/test_production.py"}
    own = [one for file in FILES for one in found_in(file) if "faults" in file]
    assert own
    assert {*own} <= {*faults()}


def test_rows_can_be_told_apart() -> None:
    names = [fault.name for fault in faults()]
    assert len({*names}) == len(names)
