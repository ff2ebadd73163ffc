"""The options that all commands which compile flows have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.files import difference
from metaflow_dagster.options import Surface, flag_of, kind_of, options_of

REPLACING = click.option(
    "--force",
    is_flag=True,
    default=False,
    help="Replace files of the names that are to be written, even if this command has not written "
    "them.",
)

CHECK = click.option(
    "--check",
    is_flag=True,
    default=False,
    help="Write nothing; print how files differ from what they would be, and exit 1 if any does.",
)


def are_current(texts: Mapping[Path, str]) -> bool:
    """Whether files are as they would be written; prints how they differ."""
    diffs = [difference(file, text) for file, text in texts.items()]
    click.echo("".join(diffs), nl=False)
    return not any(diffs)


def compile_options(surface: Surface) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a compilation that apply to it, by the names of `Options`."""

    def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options_of(surface)):
            command = _click_option(option)(command)
        return command

    return with_options


def _click_option(option: Field[Any]) -> Callable[..., Any]:
    flag = flag_of(option)
    if kind_of(option) is bool:
        kind: dict[str, Any] = {"is_flag": True, "default": option.default}
    elif option.default == ():
        kind = {"multiple": True, "metavar": flag.metavar}
    else:
        kind = {"default": None, "type": kind_of(option), "metavar": flag.metavar}
    if flag.choices:
        kind = {**kind, "type": click.Choice(flag.choices)}
    repeatable = " Repeatable." if option.default == () else ""
    name = "/".join(filter(None, [flag.name, flag.opposite]))
    decorator: Callable[..., Any] = click.option(
        name, option.name, help=flag.help + repeatable, **kind
    )
    return decorator
