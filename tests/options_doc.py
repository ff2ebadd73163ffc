"""The tables of options in the documentation, made of `metaflow_dagster.options`.

python -m tests.options_doc          says whether they are current
python -m tests.options_doc --write  writes them
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import Field
from typing import Any

from metaflow_dagster.options import Surface, flag_of, options_of
from tests.docs.pages import ROOT


def table(surface: Surface, name: Callable[[Field[Any]], str], heading: str) -> str:
    """The options that can be given somewhere, a row each."""
    rows = (f"| {name(option)} | {_meaning(option)} |" for option in options_of(surface))
    return "\n".join([f"| {heading} | meaning |", "|---|---|", *rows])


def _on_command_line(option: Field[Any]) -> str:
    flag = flag_of(option)
    value = "|".join(flag.choices) or flag.metavar
    given = f"{flag.name} {value}".replace("|", "\\|") if value else flag.name
    return ", ".join(f"`{each}`" for each in (given, flag.opposite) if each)


def _meaning(option: Field[Any]) -> str:
    flag = flag_of(option)
    text = re.sub(r" \[(default: .*)\]$", r" \1.", flag.help)
    repeatable = " Repeatable." if option.default == () else ""
    page = f" See [{flag.page.partition('#')[0]}]({flag.page})." if flag.page else ""
    return f"{text[:1].upper()}{text[1:]}{repeatable}{page}".replace(". default:", ". Default:")


def _attribute(option: Field[Any]) -> str:
    return f"`{option.name}`"


def tables() -> Iterator[tuple[str, str, str]]:
    """Page, name of the table in it, and the table."""
    yield "create.md", "create", table(Surface.CREATE, _on_command_line, "option")
    yield "code-location.md", "component", table(Surface.COMPONENT, _attribute, "attribute")


def whole(page: str) -> str:
    """A page with its tables as they should be."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for of_page, name, rows in tables():
        if of_page == page:
            start, end = f"<!-- table: {name} -->", "<!-- end of table -->"
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            text = f"{before}{start}\n{rows}\n{end}{after}"
    return text


def main() -> int:
    stale = []
    for page in dict.fromkeys(page for page, _, _ in tables()):
        file, text = ROOT / "docs" / page, whole(page)
        if file.read_text(encoding="utf-8") != text:
            stale.append(page)
            if "--write" in sys.argv:
                file.write_text(text, encoding="utf-8")
    if stale and "--write" not in sys.argv:
        print(f"The tables of options in {', '.join(stale)} are not current: run `make docs`.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
