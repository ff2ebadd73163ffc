"""The top level of the generated module: which names it needs, and what they are called there.

The names a user sees are claimed first. An import or helper whose name is taken then gets
another one, everywhere: a flow called `json` does not break the helpers that use `json`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, cast

import libcst as cst

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.emit.build import Expression, Statement, name
from metaflow_dagster.emit.library import Imported, Library, Renamer
from metaflow_dagster.names import Scope

StatementT = TypeVar("StatementT", bound=cst.CSTNode)

# What the generated constructs themselves refer to, next to the imports of the runtime module.
_IMPORTS: Mapping[str, Imported] = {
    imported.name or imported.module: imported
    for imported in (
        *(
            Imported("dagster", one)
            for one in (
                "AssetSpec",
                "Config",
                "DagsterRunStatus",
                "DefaultScheduleStatus",
                "DefaultSensorStatus",
                "Definitions",
                "DynamicOut",
                "DynamicOutput",
                "In",
                "OpExecutionContext",
                "Out",
                "Output",
                "RetryPolicy",
                "ScheduleDefinition",
                "in_process_executor",
                "job",
                "op",
                "run_failure_sensor",
                "run_status_sensor",
                "sensor",
            )
        ),
        Imported("collections.abc", "Iterator"),
        Imported("pydantic", "Field"),
        Imported("typing", "Any"),
        Imported("typing", "Optional"),
        Imported("os", None),
    )
}


class ModuleScope:
    """Hands out references to imports, helpers and constants, and remembers what was asked for."""

    def __init__(self, library: Library, taken: Iterable[str]) -> None:
        self._library = library
        self._imports = {**library.imports, **_IMPORTS}
        self._user_names = frozenset(taken)
        self._scope = Scope(self._user_names | frozenset(dir(builtins)))
        self._names: dict[str, str] = {}

    def ref(self, wish: str) -> Expression:
        """A reference to an import, helper or constant; it will be in the module.

        `InternalError` if there is nothing of that name.
        """
        if wish not in self._names:
            if not self._is_known(wish):
                raise InternalError(f"Generated files can have no {wish!r}: nothing defines it.")
            for needed in sorted(self._library.closure([wish]) - self._names.keys()):
                self._names[needed] = self._scope.claim(needed)
        return name(self._names[wish])

    def _is_known(self, wish: str) -> bool:
        library = self._library
        return any(wish in names for names in (self._imports, library.constants, library.helpers))

    def imported(self, module: str, attribute: str) -> Expression:
        """A reference to what a module has that the runtime does not import."""
        wish = f"{module}:{attribute}"
        if wish not in self._names:
            self._imports[wish] = Imported(module, attribute)
            self._names[wish] = self._scope.claim(attribute)
        return name(self._names[wish])

    def builtin(self, identifier: str) -> Expression:
        """A reference to a builtin; no name of the module hides one."""
        return name(identifier)

    def imports(self) -> Iterator[tuple[Imported, str]]:
        """What has to be imported, with the name it has in the module."""
        for original, here in self._names.items():
            if original in self._imports:
                yield self._imports[original], here

    def constants(self) -> Iterator[tuple[str, str, cst.SimpleStatementLine]]:
        """The constants in use, in their order: original name, name here, statement."""
        for original, statement in self._library.constants.items():
            if original in self._names:
                yield original, self._names[original], self.renamed(statement)

    def helpers(self) -> Iterator[Statement]:
        """The helpers in use, in the order of the runtime module."""
        for original, statement in self._library.helpers.items():
            if original in self._names:
                yield self.renamed(statement)

    def renamed(self, statement: StatementT) -> StatementT:
        """A statement of the runtime module with the names of this module."""
        changed = {old: new for old, new in self._names.items() if old != new}
        return cast(StatementT, statement.visit(Renamer(changed))) if changed else statement
