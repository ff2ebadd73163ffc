"""The messages of the compiler when it cannot compile a flow.

Diagnostics are collected by a stage and raised together at its end, so that a user fixes a flow
in one go. A `CompileError` is the user's to fix, an `InternalError` is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metaflow_dagster.ir.flow import Location


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that stands in the way: what is wrong, where, and what to do about it."""

    message: str
    hint: str
    step: str | None = None
    location: Location | None = None

    def __str__(self) -> str:
        place = f"{self.location.file}:{self.location.line}: " if self.location else ""
        step = f"step {self.step}: " if self.step else ""
        return f"{place}{step}{self.message} {self.hint}"


class CompileError(Exception):
    """The flow cannot be compiled; `diagnostics` says why, at least once."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(map(str, self.diagnostics)))

    def __reduce__(self) -> tuple[type[CompileError], tuple[tuple[Diagnostic, ...]]]:
        """Come out of another process with the diagnostics."""
        return type(self), (self.diagnostics,)


class MalformedOption(Exception):
    """An option cannot be read; its `diagnostic` goes into a `CompileError`, with others."""

    def __init__(self, message: str, hint: str) -> None:
        self.diagnostic = Diagnostic(message, hint)
        super().__init__(message)


class InternalError(Exception):
    """The compiler broke one of its own rules."""

    def __str__(self) -> str:
        return f"{self.args[0]} This is a bug in metaflow-dagster: please report it with the flow."


def raise_if_any(diagnostics: Iterable[Diagnostic]) -> None:
    """Raise a `CompileError` with all of them, unless there is none."""
    found = tuple(diagnostics)
    if found:
        raise CompileError(found)
