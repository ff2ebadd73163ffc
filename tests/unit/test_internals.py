"""The private names of Dagster and Metaflow: all are in the tables, and all in these are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaflow_dagster
from metaflow_dagster.internals import execution, metaflow, operation
from metaflow_dagster.internals.lookup import Function, Internal, Method, Variable, lacking_names

PACKAGE = Path(metaflow_dagster.__file__).parent

TABLES = [
    table
    for module in (execution, metaflow, operation)
    for table in vars(module).values()
    if isinstance(table, type) and table.__module__ == module.__name__
]
ENTRIES = {
    f"{table.__name__}.{entry}": value
    for table in TABLES
    for entry, value in vars(table).items()
    if not entry.startswith("__")
}

# Those that import nothing of the package, since Metaflow imports them in each process.
ALONE = "metaflow_extensions"
OTHERS = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"internals", ALONE} & set(path.relative_to(PACKAGE).parts)
]

# Metaflow's copy of Click: the commands of extensions have to be made with it.
CLICK = re.compile(r"metaflow\._vendor(\.click(\.\w+)*)?")
PRIVATE_MODULE = re.compile(r"(dagster|metaflow)\w*(\.\w+)*\._\w+(\.\w+)*")

# Names with an underscore that are public: of named tuples, and of Python itself.
PUBLIC = {"_replace", "_exit", "_getframe"}
OWN = {"self", "cls", "inside"}  # whose private names are the package's own


def private_names() -> set[str]:
    """The names with an underscore in the tables."""
    paths = [value.path if isinstance(value, Internal) else value for value in ENTRIES.values()]
    parts = {part for path in paths if isinstance(path, str) for part in path.split(".")}
    return {part for part in parts if part.startswith("_")}


def reached(tree: ast.AST) -> Iterator[str]:
    """The private names of Dagster and Metaflow that a module spells."""
    names = private_names() - PUBLIC
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=aliases):
                given = [f"{module}.{alias.name}" for alias in aliases]
                yield from (name for name in given if PRIVATE_MODULE.fullmatch(name))
            case ast.Import(names=aliases):
                yield from (each.name for each in aliases if PRIVATE_MODULE.fullmatch(each.name))
            case ast.Attribute(value=ast.Name(id=owner)) if owner in OWN:
                pass
            case ast.Attribute(attr=name) if re.match("_[a-z]", name) and name not in PUBLIC:
                yield name
            case ast.keyword(arg=str(name)) if re.match("_[a-z]", name):
                yield name
            case ast.Constant(value=str(text)) if text in names or PRIVATE_MODULE.fullmatch(text):
                yield text


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_reaches_for_a_private_name(path: Path) -> None:
    names = set(reached(ast.parse(path.read_text(encoding="utf-8"))))
    assert {name for name in names if not CLICK.fullmatch(name)} == set()


@pytest.mark.parametrize(
    "code",
    [
        "from dagster._core.events import EngineEventData",
        "from dagster import _check",
        "import dagster._utils",
        "flow._steps",
        "storage._engine = engine",
        "getattr(flow, '_flow_cls')",
        "import_module('dagster._core.events')",
        "Step('MyFlow/1/start', _namespace_check=False)",
    ],
)
def test_a_private_name_is_noticed(code: str) -> None:
    assert list(reached(ast.parse(code)))


def test_the_installed_releases_have_all_that_is_expected() -> None:
    assert lacking_names(*TABLES) == []


def test_nothing_is_expected_in_vain() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in OTHERS)
    unused = {name for name in ENTRIES if not re.search(rf"\b{re.escape(name)}\b", text)}
    assert unused == set()


@pytest.mark.parametrize(
    "name",
    [
        Internal("dagster.no_such_module", "job"),
        Internal("dagster", "no_such_name"),
        Function("dagster", "job", "no_such_parameter"),
        Method("dagster", "DagsterInstance.get_run_by_id", "run_id more"),
        Variable("dagster", "NoSuchClass._engine"),
    ],
    ids=str,
)
def test_a_name_that_is_missing_or_has_changed_is_lacking(name: Internal) -> None:
    table = type("Table", (), {"entry": name})
    assert lacking_names(table) == [f"{name.module}.{name.path}"]
