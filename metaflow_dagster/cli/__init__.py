"""The `dagster` command group that every flow has where this package is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from metaflow._vendor import click

from metaflow_dagster.cli.streams import show_everything

# Each command with the module of this package and the object in it.
_COMMANDS: Final = {
    "create": ("create", "create"),
    "trigger": ("trigger", "trigger"),
    "trigger_partition": ("trigger", "trigger_partition"),
    "backfill": ("backfill", "backfill"),
    "resume": ("resume", "resume"),
    "status": ("status", "status"),
    "terminate": ("terminate", "terminate"),
    "list-runs": ("list_runs", "list_runs"),
    "list": ("list_deployed", "list_deployed"),
    "delete": ("delete", "delete"),
    "suspend": ("suspend", "suspend"),
    "unsuspend": ("suspend", "unsuspend"),
    "step": ("step", "step"),
}


class _Commands(Mapping[str, Any]):
    """The commands by name. One is imported when it is used: few need the compiler, and steps
    with decorators that have a say in how they are started run one each.
    """

    def __getitem__(self, name: str) -> Any:
        module, command = _COMMANDS[name]
        return getattr(import_module(f"{__name__}.{module}"), command)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


@click.group()
def cli() -> None:
    pass


@cli.group(help="Commands related to Dagster.", commands=_Commands())
def dagster() -> None:
    show_everything()
