"""The component by which a project of Dagster's `dg` names a flow, in a `defs.yaml`.

Annotations are no strings here: Dagster makes the schema of the attributes of them.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import dagster
from dagster import AssetKey, AssetSpec, Definitions

from metaflow_dagster.compilation import Compilation
from metaflow_dagster.location.process import FlowNotCompiled, compile_flow
from metaflow_dagster.options import Options

try:
    from dagster import Component, ComponentLoadContext, Resolvable
except ImportError as error:
    raise ImportError(
        f"Dagster {dagster.__version__} is too old for MetaflowFlowComponent, since it has no "
        "components. Upgrade dagster, or compile flows with `metaflow-dagster create`."
    ) from error


@dataclass
class MetaflowFlowComponent(Component, Resolvable):
    """A Metaflow flow, compiled into a Dagster job whenever the definitions are loaded.

    Nothing is written, and the job is not deployed: unless `dagster create` has given it a
    production token, its runs are those of the user who runs them.

    Attributes
    ----------
    flow : path of the flow's file, relative to the directory of the `defs.yaml`
    name : name of the Dagster job; default: the flow's name
    tags : Metaflow tags for every run
    decospecs : step decorators to add, such as "retry:times=3"
    namespace : Metaflow namespace of the steps
    workflow_timeout : seconds after which a run is stopped
    max_workers : most steps that run at once; default: the number of CPUs
    executor : what runs the ops: `threads` of the run's process, the default, `multiprocess`,
        `in_process`, one after the other, `celery`, `docker`, `k8s`, `celery_k8s`, or
        `module:attribute`
    warm_steps : whether the processes of steps are forked from one that has imported Metaflow
    pools : Dagster's pools that ops take a slot of: `NAME` for all steps, `STEP=NAME` for one
    workflow_priority : which of the runs in Dagster's queue start first; default: 0
    notify_on_error, notify_on_success : whether the webhook at METAFLOW_DAGSTER_WEBHOOK_URL is told
        when a run has failed or succeeded
    """

    flow: str
    name: str | None = None
    tags: Sequence[str] = field(default_factory=tuple)
    decospecs: Sequence[str] = field(default_factory=tuple)
    namespace: str | None = None
    workflow_timeout: int | None = None
    max_workers: int | None = None
    executor: str | None = None
    warm_steps: bool = False
    pools: Sequence[str] = field(default_factory=tuple)
    workflow_priority: int | None = None
    notify_on_error: bool = False
    notify_on_success: bool = False

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
        for one in module.defs.assets:
            if self.name is None and one.key == AssetKey([module.FLOW.end_event]):
                yield one

    def _compiled(self, directory: Path) -> Compilation:
        file = directory / self.flow
        if not file.is_file():
            raise FlowNotCompiled(
                str(file), f"There is no such file. Mend `flow` in {directory / 'defs.yaml'}."
            )
        # As the steps, it runs in the directory of its file, wherever Dagster was started.
        return compile_flow(
            str(file.resolve()), self._options(), directory, working_directory=file.parent
        )

    def _options(self) -> Options:
        return Options(
            name=self.name,
            tags=tuple(self.tags),
            decospecs=tuple(self.decospecs),
            namespace=self.namespace,
            workflow_timeout=self.workflow_timeout,
            max_workers=self.max_workers,
            executor=self.executor,
            warm_steps=self.warm_steps,
            pools=tuple(self.pools),
            workflow_priority=self.workflow_priority,
            notify_on_error=self.notify_on_error,
            notify_on_success=self.notify_on_success,
            runtime="installed",
        )


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
