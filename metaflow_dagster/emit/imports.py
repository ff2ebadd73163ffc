"""The import section, in the order that ruff's isort rules want."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from metaflow_dagster.emit.build import Statement, import_as, import_from
from metaflow_dagster.emit.library import Imported


def import_statements(imports: Iterable[tuple[Imported, str]]) -> Iterator[list[Statement]]:
    """The standard library's section, then that of other packages; empty ones are left out."""
    sections: dict[bool, list[tuple[Imported, str]]] = defaultdict(list)
    for imported, here in imports:
        top = imported.module.partition(".")[0]
        sections[top not in sys.stdlib_module_names].append((imported, here))
    for third_party in sorted(sections):
        yield list(_section(sections[third_party]))


def _section(imports: Iterable[tuple[Imported, str]]) -> Iterator[Statement]:
    """Modules first, then names out of modules, each sorted."""
    from_modules: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for imported, here in sorted(imports, key=lambda pair: (pair[0].module, pair[1])):
        if imported.name is None:
            yield import_as(imported.module, here)
        else:
            from_modules[imported.module].append((imported.name, here))
    for module, names in sorted(from_modules.items()):
        yield from (import_from(module, group) for group in _grouped(names))


def _grouped(names: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    """The names for each import statement: unchanged names together, every renamed one alone."""
    in_order = sorted(names, key=_member_order)
    as_they_are = [name for name in in_order if name[0] == name[1]]
    renamed = [[name] for name in in_order if name[0] != name[1]]
    return sorted([as_they_are, *renamed] if as_they_are else renamed, key=_group_order)


def _group_order(group: list[tuple[str, str]]) -> tuple[int, str, str]:
    return _member_order(group[0])


def _member_order(name: tuple[str, str]) -> tuple[int, str, str]:
    """Constants, classes, functions, as isort's `order-by-type`; by letters, then by their case."""
    text = name[0]
    if text.isupper() and len(text) > 1:
        return 0, text.lower(), text
    return (1 if text[0].isupper() else 2), text.lower(), text
