"""The top level of the generated module: which names it needs, and what is taken there.

Imports and helpers have their own names. A name of the user's that is one of them, such as that of
a flow called `json`, gets another identifier, so that the helpers are the same in all files.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from typing import Final

from typing_extensions import assert_never

from metaflow_dagster.diagnostics import InternalError
from metaflow_dagster.emit.build import Expression, Statement, name
from metaflow_dagster.emit.delivery import Delivery, Inline, Installed, Shared
from metaflow_dagster.emit.library import Imported, Library, statement_of
from metaflow_dagster.names import Scope
from metaflow_dagster.runtime import PUBLIC

FLOW: Final = "FLOW"  # holds the flow's settings
HERE: Final = "HERE"  # holds the directory of the file

# What the generated constructs themselves refer to, next to the runtime.
_IMPORTS: Final[Mapping[str, Imported]] = {
    imported.name or imported.module: imported
    for imported in (
        *(
            Imported("dagster", each)
            for each in (
                "AssetSelection",
                "AssetSpec",
                "AutomationCondition",
                "Config",
                "DagsterRunStatus",
                "DailyPartitionsDefinition",
                "DefaultScheduleStatus",
                "DefaultSensorStatus",
                "Definitions",
                "DynamicOut",
                "DynamicOutput",
                "DynamicPartitionsDefinition",
                "GraphIn",
                "GraphOut",
                "HourlyPartitionsDefinition",
                "In",
                "MonthlyPartitionsDefinition",
                "MultiPartitionsDefinition",
                "Nothing",
                "OpExecutionContext",
                "Out",
                "Output",
                "RetryPolicy",
                "RunFailureSensorContext",
                "RunStatusSensorContext",
                "ScheduleDefinition",
                "ScheduleEvaluationContext",
                "SensorEvaluationContext",
                "SensorResult",
                "StaticPartitionsDefinition",
                "WeeklyPartitionsDefinition",
                "define_asset_job",
                "graph",
                "in_process_executor",
                "job",
                "op",
                "run_failure_sensor",
                "run_status_sensor",
                "schedule",
                "sensor",
            )
        ),
        Imported("collections.abc", "Iterator"),
        Imported("pydantic", "Field"),
        Imported("typing", "Any"),
        Imported("typing", "Optional"),
        Imported("os", None),
        Imported("sys", None),
    )
}


def reserved_names(delivery: Delivery) -> frozenset[str]:
    """The names of the top level that no user's name may take."""
    own = {*dir(builtins), *_IMPORTS, *PUBLIC, FLOW, HERE}
    match delivery:
        case Inline(library):
            return library.names() | own
        case Shared() | Installed():
            return frozenset(own)
        case _:
            assert_never(delivery)


class ModuleScope:
    """Hands out references to imports and the runtime, and remembers what was asked for."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._scope = Scope(reserved_names(delivery))
        self._used: set[str] = set()  # of the runtime
        self._imports: dict[str, Imported] = {}  # by the name here

    def claim(self, wish: str) -> str:
        """An identifier for something of the user's; the nearest one that is free."""
        return self._scope.claim(wish)

    def ref(self, wish: str) -> Expression:
        """A reference to an import or something of the runtime; it will be in the module."""
        if wish in PUBLIC:
            self._used.add(wish)
        elif wish in _IMPORTS:
            self._imports[wish] = _IMPORTS[wish]
        elif wish not in (FLOW, HERE):
            raise InternalError(f"A generated file refers to {wish}, which it cannot have.")
        return name(wish)

    def imported(self, module: str, attribute: str) -> Expression:
        """A reference to what a module has that nothing else here imports."""
        wanted = Imported(module, attribute)
        known = (here for here, imported in self._imports.items() if imported == wanted)
        here = next(known, None) or self.claim(attribute)
        self._imports[here] = wanted
        return name(here)

    def builtin(self, identifier: str) -> Expression:
        """A reference to a builtin; no name of the module hides one."""
        return name(identifier)

    def imports(self) -> Iterator[tuple[Imported, str]]:
        """The imports, each with its name in the module, without those of `shared_imports`."""
        imports = dict(self._imports)
        match self._delivery:
            case Inline(library):
                needed = library.closure(self._used) & library.imports.keys()
                imports |= {name: library.imports[name] for name in needed}
            case Installed(module):
                imports |= {name: Imported(module, name) for name in self._used}
            case Shared():
                pass
            case _:
                assert_never(self._delivery)
        return ((imported, here) for here, imported in imports.items())

    def needs_runtime(self) -> bool:
        """Whether the module imports the runtime, which may be of another release."""
        return not isinstance(self._delivery, Inline)

    def shared_imports(self) -> Iterator[tuple[Imported, str]]:
        """The names that are imported from the runtime beside the file."""
        if isinstance(self._delivery, Shared):
            for used in self._used:
                yield Imported(self._delivery.module, used), used

    def constants(self) -> Iterator[Statement]:
        """The constants of the runtime that the module holds, in their order."""
        if isinstance(self._delivery, Inline):
            yield from self._held(self._delivery.library, self._delivery.library.constants)

    def helpers(self) -> Iterator[Statement]:
        """The helpers of the runtime that the module holds, in their order."""
        if isinstance(self._delivery, Inline):
            yield from self._held(self._delivery.library, self._delivery.library.helpers)

    def _held(self, library: Library, sources: Mapping[str, str]) -> Iterator[Statement]:
        """Those of some statements of the runtime that the module needs."""
        needed = library.closure(self._used)
        return (statement_of(source) for name, source in sources.items() if name in needed)
