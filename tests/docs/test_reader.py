"""What tests the documentation notices what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.claims import claimed, problem
from tests.docs.pages import Block
from tests.docs.reader import Reader

PAGE = """\
# A page

```sh
echo one
```

```text
one
```

## Below

<!-- test: in made.txt -->
```python
x = 1
```

```yaml
a: 1
```
"""


def parts(text: str) -> list[Block]:
    return list(pages._blocks("docs/page.md", text.splitlines()))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(tmp_path) as found:
        yield found


def test_blocks_of_a_page() -> None:
    found = parts(PAGE)
    assert [(each.line, each.heading, each.language) for each in found] == [
        (3, "A page", "sh"),
        (7, "A page", "text"),
        (14, "Below", "python"),
        (18, "Below", "yaml"),
    ]
    assert [each.comments for each in found] == [(), (), ("in made.txt",), ()]


@pytest.mark.parametrize("fence", ["- ```sh", "```sh title", "````sh", "~~~", "<pre>"])
def test_fence_that_would_be_overlooked_is_refused(fence: str) -> None:
    with pytest.raises(AssertionError, match="not a fence that is known"):
        parts(f"text\n{fence}\nx\n")


def test_comment_without_a_block_is_refused() -> None:
    with pytest.raises(AssertionError, match="no block comes after"):
        parts("```sh\ntrue\n```\n<!-- test: fails -->\n")


def test_untested_blocks_are_noticed() -> None:
    command, said, within, unknown = parts(PAGE)
    assert problem(command, None, []) is None
    assert problem(said, command, []) is None
    assert problem(said, None, []) == "follows no command"
    assert problem(said, within, []) is None
    assert problem(within, said, []) is None
    assert problem(unknown, within, []) == "is neither run nor a file"


def test_files_have_to_be_named() -> None:
    file, command = parts("```yaml\n# run.yaml\n```\n```sh\ncat run.yaml\n```\n")
    assert problem(file, None, [file, command]) is None
    assert problem(file, None, [file]) == "is a file, run.yaml, which no other block names"


def test_claims_are_found_where_tests_take_blocks() -> None:
    (block,) = pages.blocks_of("docs/semantics.md", "Carrying on after a failure", "sh")
    assert block.place in claimed()
    readme = {each.place for each in pages.blocks("README.md")}
    assert not readme & claimed()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nfalse\n```\n", "docs/page.md:1: false fails"),
        ("```sh\ntrue\nfalse\ntrue\n```\n", "docs/page.md:1: false fails"),
        ("<!-- test: fails -->\n```sh\ntrue\n```\n", "docs/page.md:2: true succeeds"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        (
            "```sh\necho one\n```\n```text\ntwo\n```\n",
            "docs/page.md:4: what is printed is not that",
        ),
        ("```sh\necho a b\n```\n```text\na\n```\n", "what is printed is not that"),
        ("```sh\necho a\necho b\n```\n```text\nb\n…\na\n```\n", "what is printed is not that"),
        ("```sh\ntouch f\n```\n<!-- test: in f -->\n```sh\nx\n```\n", "is not what f has"),
    ],
)
def test_what_a_reader_stumbles_over(text: str, message: str, reader: Reader) -> None:
    with pytest.raises(AssertionError, match=message):
        reader.read(parts(text))


@pytest.mark.parametrize(
    "text",
    [
        "```sh\necho a\necho b\necho c\n```\n```text\na\n…\nc\n```\n",
        "```sh\necho a\n```\n```text\na\n…\n```\n",
        "```sh\necho a\n```\n```text\n…\na\n```\n",
        "```sh\necho 'a b c'\n```\n```text\na … c\n```\n",
        "```sh\npwd\n```\n```text\n/home/ann\n```\n",
        "```sh\nexport A=b\necho $A\n```\n```text\nb\n```\n",
        "```sh\necho dagster-0123456789ab\n```\n```text\ndagster-ba9876543210\n```\n",
        "```python\n# a.py\nprint(1)\n```\n```sh\npython a.py\n```\n```text\n1\n```\n",
        "<!-- test: run touch f -->\n```sh\nls f\n```\n",
        "<!-- test: fails -->\n```sh\nfalse\n```\n",
    ],
)
def test_what_a_reader_takes(text: str, reader: Reader) -> None:
    reader.read(parts(text))
