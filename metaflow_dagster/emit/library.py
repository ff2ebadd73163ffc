"""The runtime package as a library of helpers that can be cut out one by one.

A helper brings along whatever it refers to: other helpers, constants, imports. What is cut out is
the source as it stands, comments and docstrings included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import libcst as cst

from metaflow_dagster.emit.build import Statement

# The order in which a generated file shows what it takes from them.
RUNTIME_MODULES = (
    "settings",
    "tasks",
    "steps",
    "outputs",
    "parameters",
    "history",
    "command",
    "identity",
    "identities",
    "limits",
    "logs",
    "starting",
    "op_threads",
    "guard",
    "failures",
    "process",
    "step_server",
    "warm",
    "store",
    "flow_code",
    "io_manager",
    "results",
    "sources",
    "internals",
    "threads",
    "executors",
    "events",
    "event_log",
    "triggers",
    "notices",
    "siblings",
)

_OWN = "metaflow_dagster.runtime."


@dataclass(frozen=True, slots=True)
class Imported:
    """`from module import name`, or `import module` where name is None."""

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Library:
    """The top level of the runtime modules by the name each statement defines, in their order.

    `references` are the top-level names that each constant and helper refers to.
    """

    constants: Mapping[str, cst.SimpleStatementLine]
    helpers: Mapping[str, Statement]
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


def names_used(statement: ast.stmt) -> Iterator[str]:
    """The identifiers a statement refers to, without attributes and keywords of calls."""
    names = (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
    return iter(dict.fromkeys(names))


@cache
def runtime_library() -> Library:
    """The library of `metaflow_dagster.runtime`."""
    package = resources.files("metaflow_dagster").joinpath("runtime")
    files = (package.joinpath(f"{name}.py") for name in RUNTIME_MODULES)
    return read_library(file.read_text(encoding="utf-8") for file in files)


def read_library(sources: Iterable[str]) -> Library:
    """Take modules apart into constants, helpers and imports; what they import of each other
    is not an import of the library.
    """
    constants: dict[str, cst.SimpleStatementLine] = {}
    helpers: dict[str, Statement] = {}
    imports: dict[str, Imported] = {}
    used: dict[str, tuple[str, ...]] = {}
    for abstract, concrete in _statements(sources):
        match abstract, concrete:
            case (
                (ast.FunctionDef(name=name) | ast.ClassDef(name=name)),
                cst.BaseCompoundStatement(),
            ):
                helpers[name], used[name] = concrete, tuple(names_used(abstract))
            case (
                (ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name))),
                cst.SimpleStatementLine(),
            ):
                constants[name], used[name] = concrete, tuple(names_used(abstract))
            case ((ast.Import() | ast.ImportFrom()), _):
                imports.update(_imported(abstract))
    known = constants.keys() | helpers.keys() | imports.keys()
    references = {name: tuple(one for one in names if one in known) for name, names in used.items()}
    return Library(constants, helpers, imports, references)


def _statements(sources: Iterable[str]) -> Iterator[tuple[ast.stmt, cst.BaseStatement]]:
    """The top-level statements of modules, abstract and concrete.

    Python's own syntax tree is made faster, and looked through faster, than that of LibCST.
    """
    for source in sources:
        concrete = cst.parse_module(source).body
        yield from zip(ast.parse(source).body, concrete, strict=True)


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Imported]]:
    match statement:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield alias.name, Imported(alias.name, None)
        case ast.ImportFrom(module=str(module), names=aliases) if not module.startswith(_OWN):
            for alias in aliases:
                yield alias.name, Imported(module, alias.name)


class Renamer(cst.CSTTransformer):
    """Renames what a helper refers to, where a user's name has taken the original one."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        new = self._names.get(original_node.value, original_node.value)
        return updated_node.with_changes(value=new)

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.Attribute:
        return updated_node.with_changes(attr=original_node.attr)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False
