"""Every block of the documentation is tested, most of them by somebody who follows the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.claims import left_to_the_reader, problem
from tests.docs.pages import blocks, pages
from tests.docs.reader import Reader

READ = [page for page in pages() if left_to_the_reader(page)]


def untested(page: str) -> Iterator[str]:
    """The blocks of a page that nobody would test, and why."""
    left = left_to_the_reader(page)
    for before, block in zip([None, *left], left, strict=False):
        why = problem(block, before, blocks(page))
        if why is not None:
            yield f"{block.place} {why}"


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_by_a_test(page: str) -> None:
    assert list(untested(page)) == []


@pytest.mark.slow
@pytest.mark.parametrize("page", READ)
def test_page(page: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        reader.read(left_to_the_reader(page))
