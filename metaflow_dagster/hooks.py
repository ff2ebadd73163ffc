"""A task started the way Metaflow's own runtime starts it, with the hooks of its decorators.

Decorators such as `@kubernetes` or `@conda` take part in how a step's process is started: they
upload the code, make an environment, put another command in the place of `step`. For that they
need the flow itself. So an op runs such a step through a hidden command of the flow's command line,
which does what `metaflow/runtime.py: NativeRuntime` does for one attempt of one task.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from metaflow.metaflow_config import FEAT_ALWAYS_UPLOAD_CODE_PACKAGE
from metaflow.package import MetaflowPackage
from metaflow.runtime import CLIArgs, TaskFailed
from metaflow.system_context import system_context
from metaflow.unbounded_foreach import UBF_CONTROL
from metaflow.user_configs.config_parameters import dump_config_values

from metaflow_dagster.internals.metaflow import MetaflowArtifacts, MetaflowCurrent


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task, as the options of Metaflow's `step` command describe it."""

    step: str
    run_id: str
    task_id: str
    input_paths: Sequence[str]
    split_index: str | None  # which is text in Metaflow's runtime
    retry_count: int
    max_user_code_retries: int
    ubf_context: str | None
    clone_run_id: str | None


class HookedTask:
    """The attributes of a task that `CLIArgs` and the hooks read (metaflow/runtime.py: Task)."""

    def __init__(self, state: Any, attempt: Attempt) -> None:
        self.flow = state.flow
        self.step = attempt.step
        self.run_id = attempt.run_id
        self.task_id = attempt.task_id
        self.input_paths = attempt.input_paths
        self.split_index = attempt.split_index
        self.retries = attempt.retry_count
        self.user_code_retries = attempt.max_user_code_retries
        self.ubf_context = attempt.ubf_context
        self.ubf_iter = _parallel_nodes(state, attempt)
        self.decos = getattr(state.flow, attempt.step).decorators
        self.entrypoint = state.entrypoint
        self.tags = state.metadata.sticky_tags
        self.metadata_type = state.metadata.TYPE
        self.environment_type = state.environment.TYPE
        self.event_logger_type = state.event_logger.TYPE
        self.monitor_type = state.monitor.TYPE
        self.datastore_type = state.flow_datastore.TYPE
        self.datastore_sysroot = state.flow_datastore.datastore_root


def _parallel_nodes(state: Any, attempt: Attempt) -> Any:
    """The nodes of a control task, as the task before it has stored them; None for other tasks."""
    if attempt.ubf_context != UBF_CONTROL:
        return None
    (before,) = attempt.input_paths
    return state.flow_datastore.get_task_datastore(*before.split("/"))[
        MetaflowArtifacts.parallel_nodes
    ]


def run_attempt(state: Any, attempt: Attempt) -> int:
    """Run one attempt of a task to its end; the exit code of its process, or a negative signal.

    `state` is that of Metaflow's command line (metaflow/cli.py: CliState). The hooks are called in
    the order and with the arguments of `NativeRuntime`.
    """
    package = _package(state)
    _announce(state, attempt)
    task = HookedTask(state, attempt)
    for step, decorator in _all_decorators(state):
        _call(decorator, "runtime_init", [step], [state.flow, state.graph, package, attempt.run_id])
    _create_task(state, task)
    returncode = _run_process(_command_line(task, attempt))
    failure = TaskFailed(task) if returncode else None
    for step, decorator in _all_decorators(state):
        _call(decorator, "runtime_finished", [step, failure], [failure])
    return returncode


def _call(decorator: Any, hook: str, brief: Sequence[Any], full: Sequence[Any]) -> None:
    """Call a hook in the form in which the decorator has it (metaflow/decorators.py)."""
    with_context = getattr(decorator, f"{hook}_ctx", None)
    if with_context is not None:
        with_context(*brief)
    else:
        getattr(decorator, hook)(*full)


def _all_decorators(state: Any) -> Iterator[tuple[str, Any]]:
    for step in state.flow:
        yield from ((step.__name__, decorator) for decorator in step.decorators)


def _package(state: Any) -> Any:
    """The code package of the flow, as `metaflow/cli_components/run_cmds.py: before_run` makes it.

    It is made in the background, and uploaded by the decorators that need it.
    """
    upload = FEAT_ALWAYS_UPLOAD_CODE_PACKAGE
    package = MetaflowPackage(
        state.flow,
        state.environment,
        state.echo,
        suffixes=state.package_suffixes,
        flow_datastore=state.flow_datastore if upload else None,
    )
    if upload:
        os.environ["METAFLOW_CODE_SHA"] = package.package_sha()
        os.environ["METAFLOW_CODE_URL"] = package.package_url()
        os.environ["METAFLOW_CODE_DS"] = state.flow_datastore.TYPE
        os.environ["METAFLOW_CODE_METADATA"] = package.package_metadata
    return package


def _announce(state: Any, attempt: Attempt) -> None:
    """Register the task, which the hooks and the process take for granted."""
    state.metadata.register_run_id(attempt.run_id)
    state.metadata.register_task_id(
        attempt.run_id, attempt.step, attempt.task_id, attempt.retry_count
    )
    MetaflowCurrent.update_system(system_context)(run_id=attempt.run_id)


def _create_task(state: Any, task: HookedTask) -> None:
    datastore = state.flow_datastore.get_task_datastore(
        task.run_id, task.step, task.task_id, attempt=task.retries, mode="w"
    )
    datastore.init_task()
    MetaflowCurrent.update_system(system_context)(
        task_id=task.task_id,
        split_index=task.split_index,
        is_cloned=False,
        ubf_context=task.ubf_context,
        task_datastore=datastore,
        input_paths=task.input_paths,
        retry_count=task.retries,
        max_user_code_retries=task.user_code_retries,
    )
    arguments = [datastore, task.task_id, task.split_index, task.input_paths, False]
    for decorator in task.decos:
        _call(decorator, "runtime_task_created", [task.step], [*arguments, task.ubf_context])


def _command_line(task: HookedTask, attempt: Attempt) -> CLIArgs:
    arguments = CLIArgs(task)
    if attempt.clone_run_id:
        arguments.command_options["clone-run-id"] = attempt.clone_run_id
    retries = [task.retries, task.user_code_retries, task.ubf_context]
    for decorator in task.decos:
        _call(decorator, "runtime_step_cli", [task.step, arguments], [arguments, *retries])
    return arguments


def _run_process(arguments: CLIArgs) -> int:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        configs = dump_config_values(arguments.task.flow)
        if configs:
            json.dump(configs, file)
            file.flush()
            arguments.top_level_options["local-config-file"] = file.name
        environment = {**os.environ, **arguments.get_env()}
        return subprocess.run(arguments.get_args(), env=environment, check=False).returncode
