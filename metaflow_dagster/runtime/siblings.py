"""How the file that merges several generated ones gets at them."""

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from dagster import Definitions

from metaflow_dagster.runtime.settings import HERE


def definitions_of(name: str) -> Definitions:
    """The definitions of a module beside this one."""
    module = import_module(f"{__package__}.{name}") if __package__ else module_at(name)
    definitions: Definitions = module.defs
    return definitions


def module_at(name: str) -> ModuleType:
    """The module from its path: loaded by `dagster dev -f`, this one is in no package."""
    file = os.path.join(HERE, f"{name}.py")
    spec = spec_from_file_location(f"{__name__}.{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
