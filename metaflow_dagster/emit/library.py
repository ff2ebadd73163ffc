"""The runtime package as a library of helpers that can be cut out one by one.

A helper brings along whatever it refers to: other helpers, constants, imports. What is cut out is
the source as it stands, comments and docstrings included.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import libcst as cst

from metaflow_dagster.emit.build import Statement

# The order in which a generated file shows what it takes from them.
RUNTIME_MODULES = (
    "version",
    "internals/lookup",
    "internals/execution",
    "internals/metaflow",
    "runtime/release",
    "runtime/settings",
    "runtime/tasks",
    "runtime/configs",
    "runtime/steps",
    "runtime/outputs",
    "runtime/parameters",
    "runtime/partitions",
    "runtime/history",
    "runtime/command",
    "runtime/identity",
    "runtime/limits",
    "runtime/logs",
    "runtime/starting",
    "runtime/op_threads",
    "runtime/open_files",
    "runtime/guard",
    "runtime/failures",
    "runtime/process",
    "runtime/step_server",
    "runtime/preload",
    "runtime/warm",
    "runtime/store",
    "runtime/identities",
    "runtime/flow_code",
    "runtime/io_manager",
    "runtime/cards",
    "runtime/results",
    "runtime/artifacts",
    "runtime/checks",
    "runtime/sources",
    "runtime/reexecution",
    "runtime/execution",
    "runtime/run_log",
    "runtime/threads",
    "runtime/executors",
    "runtime/events",
    "runtime/event_log",
    "runtime/triggers",
    "runtime/graph_assets",
    "runtime/notices",
    "runtime/siblings",
)

_OWN = "metaflow_dagster."


@dataclass(frozen=True, slots=True)
class Imported:
    """`from module import name`, or `import module` where name is None."""

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Library:
    """The top level of the runtime modules by the name each statement defines, in their order.

    `constants` and `helpers` are source code. `references` are the top-level names that each of
    them refers to.
    """

    constants: Mapping[str, str]
    helpers: Mapping[str, str]
    imports: Mapping[str, Imported]
    references: Mapping[str, tuple[str, ...]]

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """The names with everything they refer to, directly or not."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += self.references.get(name, ())
        return frozenset(found)

    def names(self) -> frozenset[str]:
        """The names that a file which holds the helpers may have at its top level."""
        return frozenset({*self.constants, *self.helpers, *self.imports})


@dataclass(frozen=True)
class Cut(cst.BaseSmallStatement):
    """A statement of the runtime as its source stands.

    It has been parsed by Python. LibCST would take ten times as long to find the same text again,
    which was most of the time of a compilation.
    """

    source: str
    semicolon: cst.Semicolon | cst.MaybeSentinel = cst.MaybeSentinel.DEFAULT

    def _visit_and_replace_children(self, visitor: cst.CSTVisitorT) -> Cut:
        return self

    def _codegen_impl(self, state: Any, default_semicolon: bool = False) -> None:
        state.add_token(self.source)


def statement_of(source: str) -> Statement:
    """A constant or helper as a node of the syntax tree."""
    return cst.SimpleStatementLine([Cut(source.rstrip("\n"))])


def names_used(node: ast.stmt) -> Iterator[str]:
    """The identifiers a statement refers to, without attributes and keywords of calls."""
    names = (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
    return iter(dict.fromkeys(names))


@cache
def runtime_library() -> Library:
    """The library of `metaflow_dagster.runtime`."""
    package = resources.files("metaflow_dagster")
    files = (package.joinpath(f"{name}.py") for name in RUNTIME_MODULES)
    return read_library(file.read_text(encoding="utf-8") for file in files)


def read_library(sources: Iterable[str]) -> Library:
    """Take modules apart into constants, helpers and imports; what they import of each other
    is not an import of the library.
    """
    constants: dict[str, str] = {}
    helpers: dict[str, str] = {}
    imports: dict[str, Imported] = {}
    used: dict[str, tuple[str, ...]] = {}
    for node, source in _statements(sources):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                helpers[name], used[name] = source, tuple(names_used(node))
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                constants[name], used[name] = source, tuple(names_used(node))
            case ast.Import() | ast.ImportFrom():
                imports.update(_imported(node))
    known = constants.keys() | helpers.keys() | imports.keys()
    references = {
        name: tuple(used for used in names if used in known) for name, names in used.items()
    }
    return Library(constants, helpers, imports, references)


def _statements(sources: Iterable[str]) -> Iterator[tuple[ast.stmt, str]]:
    """The top-level statements of modules with their source, comments above them included.

    Python's own parser is fast. LibCST's is used only for what gets into a file.
    """
    for source in sources:
        lines = source.splitlines(keepends=True)
        end = 0
        for node in ast.parse(source).body:
            start, end = end, node.end_lineno or 0
            yield node, re.sub(r"\A(\s*\n)+", "", "".join(lines[start:end]))


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Imported]]:
    match statement:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield alias.name, Imported(alias.name, None)
        case ast.ImportFrom(module=str(module), names=aliases) if not module.startswith(_OWN):
            for alias in aliases:
                yield alias.name, Imported(module, alias.name)
