"""docs/reliability.md says what the tests of faults say."""

from __future__ import annotations

from pathlib import Path

from tests.faults_doc import DOCUMENT, FILES, ROOT, document, faults


def test_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "make docs writes it"


def test_document_has_all_tests_of_faults() -> None:
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "faults").glob("test_*.py")}
    assert files - {*FILES} == {"tests/faults/test_production.py"}
    assert len({fault.test for fault in faults()}) == len(faults())


def test_files_are_there() -> None:
    assert all(Path(ROOT, file).is_file() for file in FILES)
