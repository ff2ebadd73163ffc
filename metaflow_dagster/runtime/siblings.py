"""How the file that merges several generated ones gets at them."""

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from dagster import Definitions


def definitions_of(here: str, package: str | None, name: str) -> Definitions:
    """The definitions of a module in a directory, which may be that of a package."""
    module = import_module(f"{package}.{name}") if package else module_at(here, name)
    definitions: Definitions = module.defs
    return definitions


def module_at(here: str, name: str) -> ModuleType:
    """The module from its path: what `dagster dev -f` loads is in no package."""
    file = os.path.join(here, f"{name}.py")
    spec = spec_from_file_location(f"definitions.{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
