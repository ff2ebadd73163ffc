"""The compiler's recipe: read, check, plan, check, emit, verify."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from metaflow.exception import MetaflowException

from metaflow_dagster.assets import read_assets, read_checks
from metaflow_dagster.automation import check_automation
from metaflow_dagster.compilation import Compilation
from metaflow_dagster.deployment import backend_found_anywhere, store_code
from metaflow_dagster.diagnostics import CompileError, Diagnostic, InternalError, raise_if_any
from metaflow_dagster.emit import (
    SHARED_MODULE,
    emit_module,
    emit_shared_runtime,
    runtime_library,
)
from metaflow_dagster.emit.place import place_of
from metaflow_dagster.executors import ImportedExecutor, find_executor
from metaflow_dagster.files import check_module_name, check_output
from metaflow_dagster.forked import can_fork, in_child
from metaflow_dagster.frontend import Session, flow_class, library_session, pack_code, read_flow
from metaflow_dagster.frontend.read import metaflow_diagnostic
from metaflow_dagster.generated import is_generated_file
from metaflow_dagster.ir.flow import Flow, Step, Trigger
from metaflow_dagster.keywords import LibraryOptions, takes
from metaflow_dagster.names import is_dagster_name
from metaflow_dagster.option_checks import check_options
from metaflow_dagster.options import Options, pooled_steps
from metaflow_dagster.partitions import check_triggers, read_dimensions
from metaflow_dagster.planner import (
    check_plan,
    check_pods,
    in_pods,
    plan_job,
    show_plan,
    without_pods,
)
from metaflow_dagster.runtime.settings import FRESH_PYTHON


@takes(LibraryOptions)
def synthesize(flow_cls: type, options: LibraryOptions) -> str:
    """Compile a flow class into the text that `python FLOW.py dagster create OUTPUT` writes.

    Parameters
    ----------
    flow_cls : subclass of metaflow.FlowSpec, imported from the file that runs it
    output : where the text will be stored, to which paths in it are relative; default:
        `<job name in lower case>_dagster.py` in the working directory
    others : the options of that command, by the names in `metaflow_dagster.options.Options`

    Raises
    ------
    CompileError : the flow or the options cannot be compiled; says all that is wrong
    TypeError : `flow_cls` is no flow class, or an option is of another type
    """
    flow = flow_class(flow_cls)
    if not can_fork():
        return _compiled_text(flow, options, options.output)
    if options.runtime in (None, "inline"):
        runtime_library()  # kept for the next flow
    return in_child(lambda: _compiled_text(flow, options, options.output))


def _compiled_text(flow: type, options: Options, output: str | os.PathLike[str] | None) -> str:
    """The text for a flow class, and its code stored if that is to be packed.

    What decorators and extensions remember of a flow stays in the process.
    """
    try:
        with library_session(flow) as session:
            compilation = compile_session(session, options, output)
            store_code(compilation)
            return compilation.text
    except MetaflowException as error:
        raise CompileError([metaflow_diagnostic(error)]) from error


def compile_session(
    session: Session,
    options: Options,
    output: str | os.PathLike[str] | None,
    directory: str | os.PathLike[str] = ".",
) -> Compilation:
    """Compile the flow of a session; `CompileError` if it or the options cannot be compiled.

    `output` is relative to `directory`.
    """
    raise_if_any(check_options(options))
    session.attach(options.decospecs)
    flow = _placed(read_flow(session), options)
    flow = _partitioned(flow, options)
    raise_if_any(_check_steps(flow, options))
    flow = replace(flow, steps=tuple(_started(step, options) for step in flow.steps))
    raise_if_any(_check_preload(flow, options))
    if options.origin_run_id is not None:
        flow = replace(flow, parameters=(), dimensions=())
    job_name = options.name or flow.job_name
    raise_if_any(_check_job_name(flow, options, job_name))
    path = Path(directory, output if output is not None else default_output(job_name))
    raise_if_any(check_output(path, flow.file))
    raise_if_any(check_module_name(path, flow.file, _executor_module(options)))
    code = None
    if options.package:
        package, code = pack_code(session, is_generated_file)
        flow = replace(flow, code=package, backend=backend_found_anywhere(flow))
    plan = plan_job(flow, job_name)
    check_plan(plan)
    text = emit_module(plan, options, place_of(path))
    _verify(text)
    return Compilation(flow, job_name, path, text, show_plan(plan), code, _beside(options))


def _beside(options: Options) -> Mapping[str, str]:
    """The text of each module that a file imports from its own directory, by file name."""
    return {f"{SHARED_MODULE}.py": emit_shared_runtime()} if options.runtime == "shared" else {}


def _placed(flow: Flow, options: Options) -> Flow:
    """The flow as its steps run under the executor."""
    match find_executor(options.executor):
        case ImportedExecutor(has_pods=True):
            raise_if_any(check_pods(flow))
            return in_pods(flow)
        case _:
            return without_pods(flow)


def _partitioned(flow: Flow, options: Options) -> Flow:
    """The flow with its partitions, of which events choose the keys."""
    dimensions = read_dimensions(flow, options.partitions)
    flow = replace(flow, dimensions=dimensions)
    raise_if_any([*check_triggers(flow, dimensions), *check_automation(flow)])
    flow = replace(flow, assets=read_assets(flow, options), checks=read_checks(flow, options))
    derived = {each.window_end for each in dimensions}
    triggers = tuple(_without(trigger, derived) for trigger in flow.triggers)
    return replace(flow, triggers=triggers)


def _without(trigger: Trigger, parameters: Container[str | None]) -> Trigger:
    """The trigger without values for some parameters."""
    events = (
        replace(event, parameters=tuple(p for p in event.parameters if p[0] not in parameters))
        for event in trigger.events
    )
    return replace(trigger, events=tuple(events))


def _started(step: Step, options: Options) -> Step:
    """The step with a variable that lets it start a Python of its own, if it is to."""
    if step.name not in options.fresh_steps:
        return step
    return replace(step, environment=(*step.environment, (FRESH_PYTHON, "1")))


def _check_steps(flow: Flow, options: Options) -> Iterator[Diagnostic]:
    names = [step.name for step in flow.steps]
    given = [
        *((step, f"--pool {step}=…") for step in pooled_steps(options)),
        *((step, f"--fresh-step {step}") for step in options.fresh_steps),
    ]
    for step, option in given:
        if step not in names:
            yield Diagnostic(
                f"{option} is for a step that {flow.name} does not have.",
                f"Its steps are {', '.join(names)}.",
            )


def _check_preload(flow: Flow, options: Options) -> Iterator[Diagnostic]:
    own = Path(flow.file).stem
    if own in options.preload:
        yield Diagnostic(
            f"--preload {own} is the flow itself, which each task runs from its file.",
            "Leave it out; --preload auto takes what that file imports.",
        )


def _executor_module(options: Options) -> str | None:
    match find_executor(options.executor):
        case ImportedExecutor(module=module):
            return module.partition(".")[0]
        case _:
            return None


def default_output(job_name: str) -> str:
    """The file a job is written to if the user names none."""
    return f"{job_name.lower()}_dagster.py"


def _check_job_name(flow: Flow, options: Options, job_name: str) -> Iterator[Diagnostic]:
    if options.name and flow.project:
        yield Diagnostic(
            "--name is not supported for @projects, whose jobs are named after project and branch.",
            "Use --branch instead.",
        )
    if not is_dagster_name(job_name):
        yield Diagnostic(
            f"The flow's name, {flow.name}, is not one that Dagster takes for a job.",
            "Give the job another name with --name.",
        )


def _verify(text: str) -> None:
    """The text has to be Python; a syntax tree is no proof of that."""
    try:
        compile(text, "<generated>", "exec")
    except (SyntaxError, ValueError) as error:
        raise InternalError(f"The generated file is not valid Python ({error}).") from error
