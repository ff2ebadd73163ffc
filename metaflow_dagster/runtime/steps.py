"""The work of an op: to run a task of its step."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import MetadataValue, OpExecutionContext

from metaflow_dagster.runtime.command import (
    adopt_settings,
    input_options,
    metaflow_command,
    tag_options,
)
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.history import (
    has_finished,
    known_attempts,
    name_run,
    origin_run_id,
    parameters_task,
    refuse_foreign_input,
    refuse_more_attempts,
    task_of,
)
from metaflow_dagster.runtime.identity import internal_decorators, launch_tags, task_environment
from metaflow_dagster.runtime.limits import limit_of
from metaflow_dagster.runtime.parameters import parameter_variables
from metaflow_dagster.runtime.process import captured_process, keep_logs, step_failure
from metaflow_dagster.runtime.results import execution_metadata, finished_task, task_metadata
from metaflow_dagster.runtime.settings import FLOW_TAG, RESUME_STEP_TAG, RUN_ID_TAG, FlowSettings
from metaflow_dagster.runtime.tasks import CONTROL_PART, FinishedTask, Task

MANY_RETRIES = 10_000  # of a recursive step, whose repetitions count their retries each
HOOKED_STEP = ["dagster", "step"]  # our command that runs a step with its decorators' hooks
CONTROL_OPTIONS = ["--ubf-context=ubf_control", "--split-index=0"]  # of a parallel step's task


def start_run(
    flow: FlowSettings, context: OpExecutionContext, parameters: Mapping[str, Any]
) -> str:
    """Create the Metaflow run of this Dagster run and return the path of its parameters' task."""
    adopt_settings(flow)
    task = parameters_task(flow, context)
    tags = {FLOW_TAG: flow.name, RUN_ID_TAG: task.run_id}
    context.instance.add_run_tags(context.run_id, tags)
    origin = origin_run_id(flow, context)
    if origin is None and known_attempts(flow, context, task):
        return str(task)
    if flow.partitions and origin is None:
        parameters = {**parameters, **flow.partitions.values(context)}
    # Decorators of all steps belong to the description of the flow that is stored.
    decorators = [f"--with={spec}" for spec in flow.flow_decorators]
    begin = resume_command(context, task, origin) if origin else init_command(task)
    partition = flow.partitions.tags(context) if flow.partitions else []
    options = [*tag_options(flow), *launch_tags(context), *partition]
    command = metaflow_command(flow, decorators, [*begin, *options])
    environment = {**parameter_variables(parameters), **task_environment(flow, context)}
    limit = limit_of(context, None)
    with captured_process(flow, context, command, environment) as process:
        process.wait(limit)
        if process.returncode:
            what = "The run could not be initialised"
            raise step_failure(context, what, process, may_retry=True, metadata={})
    return str(parameters_task(flow, context) if origin else task)


def init_command(task: Task) -> list[str]:
    """The command that creates a run, with the parameters that the environment holds."""
    return ["init", f"--run-id={task.run_id}", f"--task-id={task.id}"]


def resume_command(context: OpExecutionContext, task: Task, origin: str) -> list[str]:
    """The command that creates a run as another was: its parameters, and clones of its tasks.

    Where Metaflow lets several processes resume one run, the clones have the ids of their origins,
    so that the ops find them (metaflow/runtime.py: Task.__init__, `reentrant`).
    """
    step = tagged_step(context.run.tags)
    ids = [f"--origin-run-id={origin}", f"--run-id={task.run_id}"]
    options = [*ids, "--clone-only", "--reentrant", f"--resume-identifier={task.run_id}"]
    return ["resume", *([step] if step else []), *options]


def tagged_step(tags: Mapping[str, str]) -> str | None:
    """The step from which on a run is resumed; `Failure` for what could be an option."""
    step = tags.get(RESUME_STEP_TAG)
    if step is not None and not step.isidentifier():
        raise final_failure(f"The tag {RESUME_STEP_TAG} names no step: {step!r}.")
    return step


def run_step(
    flow: FlowSettings,
    context: OpExecutionContext,
    step: str,
    input_paths: Sequence[str],
    options: Sequence[str] = (),
    user_retries: int = 0,
    error_retries: int = 0,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    part: str = "",
) -> FinishedTask:
    """Run one task of a Metaflow step and wait for it; `dagster.Failure` if it fails.

    `input_paths` are the paths of the tasks before it, `options` more options of Metaflow's `step`,
    `user_retries` how often the user's code may be retried and `error_retries` how often Metaflow
    may handle its failure after that, `timeout` the seconds that the user's code may take,
    `environment` variables for the process, `part` which of the tasks of the op this is.
    """
    adopt_settings(flow)
    task = task_of(flow, context, step, part)
    refuse_foreign_input(task, input_paths)
    name_run(context, task.run_id)
    attempt = known_attempts(flow, context, task)
    if has_finished(flow, context, task, attempt):
        context.log.info(f"Task {task} has finished already and is not run again.")
        return finished_task(flow, context, task, attempt - 1)
    refuse_more_attempts(task, attempt)
    # The retries that earlier runs have used up, this one has got anew.
    last_of_user = max(0, attempt - context.retry_number) + user_retries
    limit = limit_of(context, timeout if attempt <= last_of_user else None)
    with input_options(input_paths) as inputs:
        retries = [f"--retry-count={attempt}", f"--max-user-code-retries={last_of_user}"]
        origin = [f"--clone-run-id={run_id}" for run_id in [origin_run_id(flow, context)] if run_id]
        command = step_command(flow, task, [*inputs, *options, *retries, *origin])
        identity = {"METAFLOW_RUN_ID": task.run_id, **task_environment(flow, context)}
        variables = {**identity, **(environment or {})}
        with captured_process(flow, context, command, variables) as process:
            try:
                process.wait(limit)
            finally:
                keep_logs(flow, context, task, attempt, process)
    if process.returncode:
        may_retry = attempt < last_of_user + error_retries
        shown = task_metadata(flow, task, attempt)
        raise step_failure(context, f"Step {step} failed", process, may_retry, shown)
    return finished_task(flow, context, task, attempt, execution_metadata(command, process))


def step_command(flow: FlowSettings, task: Task, options: Sequence[str]) -> list[str]:
    """The command that runs a task, with the decorators that the flow's source does not hold."""
    specs = [*flow.step_decorators.get(task.step, []), *internal_decorators()]
    decorators = [f"--with={spec}" for spec in specs]
    namespace = [f"--namespace={flow.namespace}"] if flow.namespace is not None else []
    command = [*(HOOKED_STEP if task.step in flow.hooked_steps else ["step"]), task.step]
    ids = [f"--run-id={task.run_id}", f"--task-id={task.id}"]
    further = [*options, *namespace, *tag_options(flow)]
    return metaflow_command(flow, decorators, [*command, *ids, *further])


def run_parallel_step(
    flow: FlowSettings,
    context: OpExecutionContext,
    step: str,
    input_paths: Sequence[str],
    **how: Any,
) -> FinishedTask:
    """Run Metaflow's control task of a parallel step, which starts the others; `how` as above."""
    return run_step(flow, context, step, input_paths, CONTROL_OPTIONS, part=CONTROL_PART, **how)


def run_recursive_step(
    flow: FlowSettings,
    context: OpExecutionContext,
    step: str,
    input_paths: Sequence[str],
    options: Sequence[str] = (),
    **how: Any,
) -> FinishedTask:
    """Run a step that may choose itself, until it chooses another; `how` as for `run_step`.

    A retry goes on with the repetition that had been started last.
    """
    adopt_settings(flow)
    repetition = last_started(flow, context, step)
    if repetition:
        input_paths, options = [str(task_of(flow, context, step, repeated(repetition - 1)))], ()
    task = run_step(flow, context, step, input_paths, options, part=repeated(repetition), **how)
    while task.target == step:
        repetition += 1
        context.log.info(f"Step {step} has chosen itself and runs again: repetition {repetition}.")
        task = run_step(flow, context, step, [task.path], part=repeated(repetition), **how)
    task.metadata["repetitions"] = MetadataValue.int(repetition)
    return task


def repeated(repetition: int) -> str:
    """The part of a task id that tells the repetitions of a recursive step apart."""
    return f"r{repetition}" if repetition else ""


def last_started(flow: FlowSettings, context: OpExecutionContext, step: str) -> int:
    """The last repetition of a recursive step that an earlier attempt of this op has started."""
    repetition = 0
    while known_attempts(flow, context, task_of(flow, context, step, repeated(repetition + 1))):
        repetition += 1
    return repetition


def foreach_options(context: OpExecutionContext) -> list[str]:
    """The option that tells a task its item of the innermost foreach around it."""
    return [f"--split-index={(context.get_mapping_key() or '').split('_')[-1]}"]
