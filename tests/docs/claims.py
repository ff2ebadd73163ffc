"""Which blocks the tests run, and how: by the reader, or each by a test of its own."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator

from tests.docs import pages
from tests.docs.pages import ROOT, Block

# How the reader takes languages that are no files of their own.
_RUN = ("sh", "python")
_CLAIMING: dict[str, Callable[..., Block | list[Block]]] = {
    "block_of": pages.block_of,
    "blocks_of": pages.blocks_of,
    "whole_page": pages.blocks,
}


def claimed() -> set[str]:
    """The places of the blocks that tests have taken by `block_of`, `blocks_of`, `whole_page`."""
    return {place for call in _calls() for place in _claimed_by(call)}


@functools.cache
def _calls() -> list[ast.Call]:
    """The calls in the tests that take blocks by texts."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests").rglob("*.py"))]
    trees = [ast.parse(text) for text in texts if any(name in text for name in _CLAIMING)]
    return [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node) in _CLAIMING and _texts(node)
    ]


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _texts(call: ast.Call) -> list[str]:
    values = (arg.value for arg in call.args if isinstance(arg, ast.Constant))
    return [value for value in values if isinstance(value, str)]


def _claimed_by(call: ast.Call) -> Iterator[str]:
    taken = _CLAIMING[_name(call)](*_texts(call))
    yield from (block.place for block in (taken if isinstance(taken, list) else [taken]))


def left_to_the_reader(page: str) -> list[Block]:
    """The blocks of a page that no test of their own runs."""
    others = claimed()
    return [block for block in pages.blocks(page) if block.place not in others]


def problem(block: Block, before: Block | None, others: list[Block]) -> str | None:
    """Why the reader would not test a block that comes after another one; None if it does."""
    if block.said("in"):
        return None
    if block.language == "text":
        return None if before and before.language in (*_RUN, "text") else "follows no command"
    name = block.title or "".join(block.said("file"))
    if name:
        stem = name.rpartition("/")[2].partition(".")[0]
        named = any(stem in other.text for other in others if other.place != block.place)
        return None if named else f"is a file, {name}, which no other block names"
    return None if block.language in _RUN else "is neither run nor a file"
