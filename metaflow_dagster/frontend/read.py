"""The reading of a flow, part by part, and the collecting of what is unsupported."""

from __future__ import annotations

from collections.abc import Iterator

from metaflow import current
from metaflow.exception import MetaflowException

from metaflow_dagster.diagnostics import CompileError, Diagnostic, raise_if_any
from metaflow_dagster.frontend.backend import check_backend, read_backend
from metaflow_dagster.frontend.configs import check_configs, read_configs
from metaflow_dagster.frontend.decorators import check_decorators, decorated_flow
from metaflow_dagster.frontend.imports import read_imports
from metaflow_dagster.frontend.lint import run_checks
from metaflow_dagster.frontend.parameters import check_parameters, read_parameters
from metaflow_dagster.frontend.protocols import CliState, FlowObject, Graph
from metaflow_dagster.frontend.session import Session
from metaflow_dagster.frontend.steps import location, read_steps
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.ir.flow import Flow, Location
from metaflow_dagster.names import ascii_name, project_job_name


def read_flow(session: Session) -> Flow:
    """The flow of a session; `CompileError` lists what Metaflow or we cannot work with."""
    state = session.state
    try:
        _lint(state)
        raise_if_any(_unsupported(session))
        flow = Flow(
            name=state.flow.name,
            file=session.flow_file,
            steps=tuple(read_steps(state.flow, state.graph)),
            description=state.graph.doc.strip(),
            parameters=tuple(read_parameters(state.flow)),
            configs=tuple(read_configs(state.flow)),
            backend=read_backend(session),
            job_name=default_job_name(state.flow),
            top_options=tuple(_decorator_options(session)),
            given_options=tuple(session.given_options()),
            decospecs=tuple(session.decospecs()),
            applied=tuple(MetaflowFlow.decorators(state.flow)),
            imports=tuple(read_imports(session.flow_file)),
        )
        return decorated_flow(state.flow, flow)
    except MetaflowException as error:
        raise CompileError([metaflow_diagnostic(error)]) from error


def default_job_name(flow: FlowObject) -> str:
    """The name of a job without `--name`: the flow's, after its project and branch."""
    if "project" in MetaflowFlow.decorators(flow):
        return project_job_name(current.project_flow_name)
    return ascii_name(flow.name)


def _lint(state: CliState) -> None:
    try:
        run_checks(state.graph)
    except LookupError as error:
        culprits = list(_breakdowns(state.graph))
        unknown = Diagnostic(f"Metaflow cannot check the flow's graph ({error!r}).", "Simplify it.")
        raise CompileError(culprits or [unknown]) from error


def _breakdowns(graph: Graph) -> Iterator[Diagnostic]:
    """The steps over which Metaflow's own checks break down instead of refusing them.

    These are joins that a step outside any split leads to (check_split_join_balance) and parallel
    steps that lead nowhere (check_join_followed_by_parallel_step).
    """
    for node in graph:
        stray = node.type == "join" and not all(
            graph[parent].split_branches for parent in node.in_funcs
        )
        if stray or (node.parallel_step and not node.out_funcs):
            yield Diagnostic(
                "Metaflow cannot check the graph around this step.",
                "Let every join end one split or foreach, and every @parallel step lead to a join.",
                node.name,
                location(node),
            )


def metaflow_diagnostic(error: MetaflowException) -> Diagnostic:
    """An error of Metaflow's as a diagnostic."""
    location = None
    if getattr(error, "source_file", None) and getattr(error, "line_no", None):
        location = Location(error.source_file, error.line_no)
    return Diagnostic(f"{error.headline}: {error.message}", "", location=location)


def _unsupported(session: Session) -> Iterator[Diagnostic]:
    yield from check_decorators(session.state.flow, session.state.graph)
    yield from check_parameters(session.state.flow)
    yield from check_configs(session.state.flow)
    yield from check_backend(session)


def _decorator_options(session: Session) -> Iterator[str]:
    """Options such as `--branch` that flow decorators need on every command."""
    for decorators in MetaflowFlow.decorators(session.state.flow).values():
        for decorator in decorators:
            for option, value in decorator.get_top_level_options():
                yield from _option(option, value)


def _option(name: str, value: object) -> Iterator[str]:
    """An option with its value, as `metaflow/runtime.py: CLIArgs` writes it."""
    match value:
        case None | False:
            return
        case True:
            yield f"--{name}"
        case tuple() | list():
            yield from (f"--{name}={item}" for item in value)
        case _:
            yield f"--{name}={value}"
