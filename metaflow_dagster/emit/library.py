"""The runtime package as a library of helpers that can be cut out one by one.

A helper brings along whatever it refers to: other helpers, constants, imports. What is cut out is
the source as it stands, comments and docstrings included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import libcst as cst
import libcst.matchers as m

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
    "limits",
    "logs",
    "starting",
    "op_threads",
    "guard",
    "process",
    "step_server",
    "warm",
    "store",
    "io_manager",
    "results",
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
_CONSTANT = m.SimpleStatementLine(
    [m.OneOf(m.Assign([m.AssignTarget(m.Name())]), m.AnnAssign(m.Name()))]
)


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


def names_used(node: cst.CSTNode) -> Iterator[str]:
    """The identifiers a node refers to, without attributes and keywords of calls."""
    collector = _NameCollector()
    node.visit(collector)
    return iter(dict.fromkeys(collector.names))


class _NameCollector(cst.CSTVisitor):
    def __init__(self) -> None:
        self.names: list[str] = []

    def visit_Name(self, node: cst.Name) -> None:
        self.names.append(node.value)

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        node.value.visit(self)
        return False

    def visit_Arg(self, node: cst.Arg) -> bool:
        node.value.visit(self)
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False


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
    for statement in (one for source in sources for one in cst.parse_module(source).body):
        match statement:
            case cst.FunctionDef(name=name) | cst.ClassDef(name=name):
                helpers[name.value] = statement
            case cst.SimpleStatementLine(body=[(cst.Import() | cst.ImportFrom()) as imported]):
                imports.update(_imported(imported))
            case cst.SimpleStatementLine() if m.matches(statement, _CONSTANT):
                constants[constant_name(statement)] = statement
    known = constants.keys() | helpers.keys() | imports.keys()
    references = {
        name: tuple(used for used in names_used(statement) if used in known)
        for name, statement in {**constants, **helpers}.items()
    }
    return Library(constants, helpers, imports, references)


def constant_name(statement: cst.SimpleStatementLine) -> str:
    """The name that an assignment defines."""
    match statement.body[0]:
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name
        case cst.AnnAssign(target=cst.Name(value=name)):
            return name
        case other:
            raise TypeError(f"{type(other).__name__} is not the assignment of one name")


def _imported(statement: cst.Import | cst.ImportFrom) -> Iterator[tuple[str, Imported]]:
    match statement:
        case cst.Import(names=names):
            for alias in names:
                yield alias.evaluated_name, Imported(alias.evaluated_name, None)
        case cst.ImportFrom(module=(cst.Name() | cst.Attribute()) as module, names=[*names]):
            dotted = cst.Module([]).code_for_node(module)
            if dotted.startswith(_OWN):
                return
            for alias in names:
                yield alias.evaluated_name, Imported(dotted, alias.evaluated_name)


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
