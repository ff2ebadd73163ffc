"""The compiler's recipe: read, check, plan, check, emit, verify."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from metaflow.exception import MetaflowException

from metaflow_dagster.compilation import Compilation
from metaflow_dagster.diagnostics import CompileError, Diagnostic, InternalError, raise_if_any
from metaflow_dagster.emit import emit_module
from metaflow_dagster.emit.place import place_of
from metaflow_dagster.files import check_output
from metaflow_dagster.frontend import Session, flow_class, library_session, read_flow
from metaflow_dagster.frontend.read import metaflow_diagnostic
from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.names import is_dagster_name
from metaflow_dagster.options import ExecutorName, Options, check_options
from metaflow_dagster.planner import check_plan, plan_job, show_plan


def synthesize(
    flow_cls: type,
    *,
    output: str | os.PathLike[str] | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    decospecs: Sequence[str] = (),
    namespace: str | None = None,
    workflow_timeout: int | None = None,
    max_workers: int | None = None,
    executor: ExecutorName | None = None,
    warm_steps: bool = False,
    origin_run_id: str | None = None,
    notify_on_error: bool = False,
    notify_on_success: bool = False,
) -> str:
    """Compile a flow class into the text that `python FLOW.py dagster create OUTPUT` writes.

    Parameters
    ----------
    flow_cls : subclass of metaflow.FlowSpec, imported from the file that runs it
    output : where the text will be stored, to which paths in it are relative; default:
        `<job name in lower case>_dagster.py` in the working directory
    name : name of the Dagster job; default: the flow's name
    tags : Metaflow tags for every run (`--tag`)
    decospecs : step decorators to add, such as "retry:times=3" (`--with`)
    namespace : Metaflow namespace of the steps
    workflow_timeout : seconds after which a run is stopped
    max_workers : most steps that run at once; default: that of the CPUs
    executor : what runs the ops: "threads", the default, "multiprocess" or "in_process"
    warm_steps : whether steps are forked from a process that has imported Metaflow
    origin_run_id : Metaflow run (`dagster-…`) that every run resumes: its parameters are taken, and
        what finished in it is not run again
    notify_on_error, notify_on_success : whether the webhook at METAFLOW_DAGSTER_WEBHOOK_URL is told
        when a run has failed or succeeded; the variable is read where Dagster loads the file

    Raises
    ------
    CompileError : the flow or the options cannot be compiled; says all that is wrong
    TypeError : `flow_cls` is no flow class, or an option is of another type
    """
    _check_sequences(tags=tags, decospecs=decospecs)
    options = Options(
        name=name,
        tags=tuple(tags),
        decospecs=tuple(decospecs),
        namespace=namespace,
        workflow_timeout=workflow_timeout,
        max_workers=max_workers,
        executor=executor,
        warm_steps=warm_steps,
        origin_run_id=origin_run_id,
        notify_on_error=notify_on_error,
        notify_on_success=notify_on_success,
    )
    try:
        with library_session(flow_class(flow_cls)) as session:
            return compile_session(session, options, output).text
    except MetaflowException as error:
        raise CompileError([metaflow_diagnostic(error)]) from error


def _check_sequences(**values: object) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            raise TypeError(f"{name} takes a sequence of strings, not one string: [{value!r}]")
        if not all(isinstance(one, str) for one in cast(Iterable[object], value)):
            raise TypeError(f"{name} takes a sequence of strings, and {value!r} is none")


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
    flow = read_flow(session)
    if options.origin_run_id is not None:
        flow = replace(flow, parameters=())
    job_name = options.name or flow.job_name
    raise_if_any(_check_job_name(flow, options, job_name))
    path = Path(directory, output if output is not None else default_output(job_name))
    raise_if_any(check_output(path, flow.file))
    plan = plan_job(flow, job_name)
    check_plan(plan)
    text = emit_module(plan, options, place_of(path))
    _verify(text)
    return Compilation(flow, job_name, path, text, show_plan(plan))


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
