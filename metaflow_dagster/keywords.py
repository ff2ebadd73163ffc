"""The options of a compilation as keywords of functions, with their documentation."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from metaflow_dagster.options import Options, Surface, flag_of, options_of

GivenT = TypeVar("GivenT")
ResultT = TypeVar("ResultT")
FirstT = TypeVar("FirstT")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryOptions(Options):
    """The options of `synthesize`: those of a compilation, and where the text will be stored."""

    output: str | os.PathLike[str] | None = None


def takes(
    options: Callable[P, GivenT],
) -> Callable[[Callable[[FirstT, GivenT], ResultT]], Callable[Concatenate[FirstT, P], ResultT]]:
    """Let a function take the fields of a dataclass, which it has as one value, as keywords."""

    def with_keywords(
        function: Callable[[FirstT, GivenT], ResultT],
    ) -> Callable[Concatenate[FirstT, P], ResultT]:
        first, _ = inspect.signature(function).parameters.values()
        signature = inspect.Signature([first, *inspect.signature(options).parameters.values()])

        @wraps(function)
        def called(*arguments: Any, **keywords: Any) -> ResultT:
            bound = signature.bind(*arguments, **keywords).arguments
            return function(bound.pop(first.name), cast(Any, options)(**bound))

        called.__signature__ = signature  # type: ignore[attr-defined]
        return cast(Callable[Concatenate[FirstT, P], ResultT], called)

    return with_keywords


def parameters_section(surface: Surface, indent: str) -> str:
    """The options that can be given somewhere, as a docstring in NumPy's style has them."""
    return "".join(
        f"{indent}{option.name} : {option.type}, default {option.default!r}\n"
        f"{_filled(flag_of(option).help, indent + '    ')}\n"
        for option in options_of(surface)
    )


def _filled(text: str, indent: str) -> str:
    lines: Iterable[str] = textwrap.wrap(text, 96 - len(indent))
    return "\n".join(f"{indent}{line}" for line in lines)
