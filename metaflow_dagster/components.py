"""The component by which a project of Dagster's `dg` names a flow, in a `defs.yaml`.

Annotations are no strings here: Dagster makes the schema of the attributes of them.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, make_dataclass
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import dagster
from dagster import AssetKey, AssetSpec, Definitions

from metaflow_dagster.compilation import Compilation
from metaflow_dagster.location.process import FlowNotCompiled, compile_flow
from metaflow_dagster.options import Options, Surface, flag_of, kind_of, options_of

try:
    from dagster import Component, ComponentLoadContext, Resolvable, Resolver
except ImportError as error:
    raise ImportError(
        f"Dagster {dagster.__version__} is too old for MetaflowFlowComponent, since it has no "
        "components. Upgrade dagster, or compile flows with `metaflow-dagster create`."
    ) from error


_SURFACE = Surface.COMPONENT


def _attribute(option: Field[Any]) -> tuple[str, Any, Any]:
    """An option of a compilation as an attribute, with what `dg` shows of it."""
    plain: Any = bool if option.default is False else kind_of(option) | None
    kind = Sequence[str] if option.default == () else plain
    described = Resolver.default(description=flag_of(option).help)
    return option.name, Annotated[kind, described], field(default=option.default, kw_only=True)


if TYPE_CHECKING:

    class _Attributes:
        """The options of a compilation as attributes."""
else:
    _Attributes = make_dataclass("_Attributes", map(_attribute, options_of(_SURFACE)))


@dataclass
class MetaflowFlowComponent(_Attributes, Component, Resolvable):
    """A Metaflow flow, compiled into a Dagster job whenever the definitions are loaded.

    Nothing is written, and the job is not deployed: unless `dagster create` has given it a
    production token, its runs are those of the user who runs them.

    Its attributes are `flow`, the path of the flow's file, relative to the directory of the
    `defs.yaml`, and the options of a compilation, by the names of `Options`.
    """

    flow: str

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """The definitions of the flow's job; `FlowNotCompiled` says why there are none."""
        module = _module(self._compiled(context.path))
        definitions: Definitions = module.defs
        return Definitions(
            assets=list(self._assets(module)),
            jobs=definitions.jobs,
            schedules=definitions.schedules,
            sensors=definitions.sensors,
        )

    def _assets(self, module: ModuleType) -> Iterator[AssetSpec]:
        """The assets that nothing else in the project defines, since none may be defined twice.

        Those of events may be the project's own. That of the ends of runs is left to the job that
        is named after the flow, as Dagster takes it for another one in each `defs.yaml`.
        """
        for asset in module.defs.assets:
            if self._options().name is None and asset.key == AssetKey([module.FLOW.end_event]):
                yield asset

    def _compiled(self, directory: Path) -> Compilation:
        file = directory / self.flow
        if not file.is_file():
            raise FlowNotCompiled(
                str(file), f"There is no such file. Fix `flow` in {directory / 'defs.yaml'}."
            )
        # As the steps, it runs in the directory of its file, wherever Dagster was started.
        return compile_flow(
            str(file.resolve()), self._options(), directory, working_directory=file.parent
        )

    def _options(self) -> Options:
        chosen = {option.name: getattr(self, option.name) for option in options_of(_SURFACE)}
        return Options(**chosen, runtime="installed")


class _Loader(ExecutionLoader):
    """Loads a generated module as if its text lay where it was compiled for."""

    def __init__(self, compilation: Compilation) -> None:
        self._compilation = compilation

    def get_source(self, fullname: str) -> str:
        """The text."""
        return self._compilation.text

    def get_filename(self, fullname: str) -> str:
        """The place, to which paths in the text are relative."""
        return str(self._compilation.output)


def _module(compilation: Compilation) -> ModuleType:
    """The generated module."""
    loader = _Loader(compilation)
    spec = spec_from_loader(f"{__name__}.{compilation.output.stem}", loader)
    assert spec is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    loader.exec_module(module)
    return module
