"""The pages of the documentation, and the code blocks in them.

A comment that a page does not show may stand before a block and say how to read it; `reader.py`
lists what it can say:

<!-- test: in scoresflow_dagster.py -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"```(\w*)$")
_OTHER_FENCE = re.compile(r"```|^\s*~~~|<pre>")
_HEADING = re.compile(r"#+ (.+)$")
_COMMENT = re.compile(r"<!-- test: (.+) -->$")
# A first line that is a comment, and a name with a suffix in it: `# flows/scores_flow.py`.
_TITLE = re.compile(r"# ([\w./-]*\w\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the comments for the tests before it."""

    page: str
    line: int
    heading: str
    language: str
    text: str
    comments: tuple[str, ...] = ()

    @property
    def title(self) -> str | None:
        """The name of the file that the block is, if its first line says so."""
        match = _TITLE.match(self.text)
        return match.group(1) if match else None

    @property
    def place(self) -> str:
        """Where it is, as editors take it."""
        return f"{self.page}:{self.line}"

    def said(self, word: str) -> list[str]:
        """What the comments say that begin with a word."""
        found = (comment.partition(" ") for comment in self.comments)
        return [rest for first, _, rest in found if first == word]


def pages() -> list[str]:
    """The pages, by their paths in the repository."""
    return ["README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    return list(_blocks(page, (ROOT / page).read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    heading, comments = "", list[str]()
    numbered = iter(enumerate(lines, 1))
    for number, line in numbered:
        if match := _HEADING.match(line):
            heading = match.group(1)
        elif match := _COMMENT.match(line.strip()):
            comments.append(match.group(1))
        elif match := _FENCE.match(line.strip()):
            indent = len(line) - len(line.lstrip())
            text = "".join(f"{each[indent:]}\n" for each in _inside(numbered))
            yield Block(page, number, heading, match.group(1), text, tuple(comments))
            comments.clear()
        else:
            assert not _OTHER_FENCE.search(line), f"{page}:{number}: not a fence that is known"
    assert not comments, f"{page}: no block comes after the comment {comments}"


def _inside(numbered: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in numbered:
        if line.strip() == "```":
            return
        yield line


def block_of(page: str, heading: str, language: str) -> Block:
    """The only block of a language under a heading, for a test that runs it.

    With text for arguments: the call is how `claims.py` knows that the block is tested.
    """
    (found,) = blocks_of(page, heading, language)
    return found


def blocks_of(page: str, heading: str, language: str) -> list[Block]:
    """The blocks of a language under a heading, for a test that runs them; see `block_of`."""
    found = [
        block for block in blocks(page) if (block.heading, block.language) == (heading, language)
    ]
    assert found, f"{page} has no block of {language} below {heading}"
    return found


def file_of(page: str, title: str) -> str:
    """The text of a file that a page shows; the reader of the page runs it."""
    (found,) = (block.text for block in blocks(page) if block.title == title)
    return found


def whole_page(page: str) -> Path:
    """The file of a page that a test holds against what it is made of; see `block_of`."""
    return ROOT / page
