"""The options that all commands which compile flows have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field
from typing import Any

from metaflow._vendor import click

from metaflow_dagster.options import Surface, flag_of, kind_of, options_of

REPLACING = click.option(
    "--force",
    is_flag=True,
    default=False,
    help="Replace files of the names that are to be written, even if this command has not written "
    "them.",
)


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
