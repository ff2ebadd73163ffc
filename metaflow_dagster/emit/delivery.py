"""How the runtime gets to a generated file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from typing_extensions import assert_never

from metaflow_dagster.emit.library import Library, runtime_library
from metaflow_dagster.options import RuntimeName

SHARED_MODULE: Final = "_metaflow_runtime"  # beside the files that import it
INSTALLED_MODULE: Final = "metaflow_dagster.runtime"


@dataclass(frozen=True, slots=True)
class Inline:
    """The file holds what it uses of the runtime."""

    library: Library


@dataclass(frozen=True, slots=True)
class Shared:
    """The file imports the runtime from a module beside it."""

    module: str = SHARED_MODULE


@dataclass(frozen=True, slots=True)
class Installed:
    """The file imports the runtime from this package."""

    module: str = INSTALLED_MODULE


Delivery: TypeAlias = Inline | Shared | Installed


def delivery_of(name: RuntimeName) -> Delivery:
    """The delivery that the option `--runtime` names."""
    match name:
        case "inline":
            return Inline(runtime_library())
        case "shared":
            return Shared()
        case "installed":
            return Installed()
        case _:
            assert_never(name)
