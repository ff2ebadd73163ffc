"""Texts that are out to be evaluated, or to end what they stand in.

Whoever evaluates one, as Python or by a shell, makes a directory or file called `EVALUATED`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from tests.support import working_directory

EVALUATED = "EVALUATED"

_PARTS = (
    f"$(touch {EVALUATED})",
    f"`touch {EVALUATED}`",
    f"; touch {EVALUATED};",
    f"__import__('os').mkdir('{EVALUATED}')",
    f'"""\nimport os; os.mkdir("{EVALUATED}")\n"""',
    f"' + __import__('os').mkdir('{EVALUATED}') + '",
    f"{{__import__('os').mkdir('{EVALUATED}')}}",
    f"#\nopen('{EVALUATED}', 'w')#",
    "'",
    '"',
    "'''",
    "\\",
    "\n",
    "\r",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1b[2J",
    "\x00",
    "\ud800",
    "\udcff",
    "\ufeff",
    "\u202e",
    '{"env": "HOME"}',
    "{{ env.HOME }}",
    "%(x)s {0}",
    "--help",
    "-",
    "=",
    "../",
    "x" * 300,
)


def _joined(*kinds: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.one_of(*kinds), max_size=5).map("".join)


# Whatever a Python string can hold, what a process can be given, and what UTF-8 can hold of that.
texts = _joined(st.sampled_from(_PARTS), st.text(st.characters(exclude_categories=()), max_size=4))
arguments = _joined(
    st.sampled_from([part for part in _PARTS if part not in ("\x00", "\ud800")]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4),
)
encodable = arguments.filter(lambda text: "\udcff" not in text)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@contextmanager
def nothing_evaluated(directory: Path) -> Iterator[None]:
    """Fail if a text is evaluated while this is the working directory."""
    with working_directory(directory):
        yield
    assert not (directory / EVALUATED).exists()


def code_of(text: str) -> set[str]:
    """The names in a Python file, whatever they name: what stands there outside of texts."""
    return {
        str(value)
        for node in ast.walk(ast.parse(text))
        if not isinstance(node, ast.Constant)
        for field, value in ast.iter_fields(node)
        if field in ("id", "attr", "name", "asname", "arg", "module") and isinstance(value, str)
    }
