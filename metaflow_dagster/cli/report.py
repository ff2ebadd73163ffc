"""The report of `create` on a flow: its parts, how each is handled, and what they need."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from metaflow._vendor import click
from typing_extensions import assert_never

from metaflow_dagster.executors import ImportedExecutor, find_executor
from metaflow_dagster.frontend import hidden_extensions
from metaflow_dagster.frontend.decorators import handling_of_flow, told_of_step
from metaflow_dagster.ir.flow import (
    Backend,
    DefaultPath,
    DefaultValue,
    End,
    Flow,
    Foreach,
    LeftToMetaflow,
    Linear,
    Parallel,
    Parameter,
    Required,
    Split,
    Step,
    Switch,
    targets,
)
from metaflow_dagster.options import Options, pool_names, starts_warm
from metaflow_dagster.shell import file_word

WIDTH = 100
LONGEST_DEFAULT = 50  # characters


def report_flow(flow: Flow) -> None:
    """Say what the flow consists of, and what becomes of its decorators."""
    _section("Steps", _steps(flow))
    _section("Parameters", {each.name: _parameter(flow, each) for each in flow.parameters})
    _section("Configs", {config.name: "value at compile time" for config in flow.configs})
    _section("Decorators", _decorators(flow))
    _section("Left to the environment of the steps", _inherited(flow))
    _section("Extensions of Metaflow that it does not load", hidden_extensions())


def _section(title: str, lines: Mapping[str, str]) -> None:
    """Two columns under a title, or nothing."""
    if not lines:
        return
    click.echo()
    click.secho(title, bold=True)
    column = max(map(len, lines)) + 2
    for name, text in lines.items():
        first = f"    {name:<{column}}"
        click.echo("\n".join(_wrapped(text, first)))


def _wrapped(text: str, first: str) -> list[str]:
    wrapper = textwrap.TextWrapper(
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text)


def _steps(flow: Flow) -> dict[str, str]:
    """The steps by the shape of what follows them."""
    by_shape: dict[str, list[str]] = {}
    for step in flow.steps:
        shape, names = _shape(step)
        by_shape.setdefault(shape, []).append(names)
    return {shape: ", ".join(names) for shape, names in by_shape.items()}


def _shape(step: Step) -> tuple[str, str]:
    match step.transition:
        case Linear():
            return ("linear", step.name) if step.joins is None else ("join", step.name)
        case Split():
            return "split", step.name
        case Foreach(_, artifact):
            return "foreach", f"{step.name} (over {artifact})"
        case Parallel():
            return "parallel", step.name
        case Switch(_, condition):
            is_recursive = step.name in targets(step.transition)
            shape = "recursive switch" if is_recursive else "switch"
            return shape, f"{step.name} (by {condition})"
        case End():
            return "end", step.name
        case _:
            assert_never(step.transition)


def _parameter(flow: Flow, parameter: Parameter) -> str:
    kind = parameter.kind.value
    if dimension := flow.dimension_of(parameter.name):
        part = "key" if parameter.name == dimension.parameter else "end"
        return f"{kind}, the {part} of the partition: {dimension.partitions}"
    match parameter.default:
        case Required():
            return f"{kind}, required"
        case LeftToMetaflow():
            return f"{kind}, default left to the flow"
        case DefaultValue(value):
            return f"{kind}, default {_short(repr(value))}"
        case DefaultPath(path):
            return f"{kind}, default {file_word(path)}"
        case _:
            assert_never(parameter.default)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_DEFAULT else f"{text[:LONGEST_DEFAULT]}…"


def _decorators(flow: Flow) -> dict[str, str]:
    """How each decorator is handled, and on which steps it is."""
    handled = {f"@{name}": handling_of_flow(name).told for name in flow.applied}
    on: dict[str, list[Step]] = {}
    for step in flow.steps:
        for name in dict.fromkeys(step.applied):
            on.setdefault(name, []).append(step)
    for name, steps in on.items():
        names = ", ".join(step.name for step in steps)
        handled[f"@{name}"] = f"{names}: {told_of_step(name, steps[0])}"
    return handled


def _inherited(flow: Flow) -> dict[str, str]:
    """The credentials that `@environment` passes on, and which steps get them."""
    steps: dict[str, list[str]] = {}
    for step in flow.steps:
        for variable in step.inherited:
            steps.setdefault(variable, []).append(step.name)
    return {variable: f"for {', '.join(names)}" for variable, names in steps.items()}


def report_automation(flows: Iterable[Flow]) -> None:
    """Say what starts runs of flows by itself, and what has to be up for that."""
    causes = [
        f"{flow.name} {cause}"
        for flow in flows
        for cause in (flow.schedule, *flow.triggers)
        if cause
    ]
    _list("Where Dagster's daemon is up, as it is with `dagster dev`, runs start:", causes)


def report_imports(options: Options, flows: Iterable[Flow]) -> None:
    """Say what each task imports that could be imported once a run, if it is not to be."""
    if starts_warm(options) and not options.preload:
        for flow in flows:
            title = f"Each task of {flow.name} imports these; with --preload auto, a run does once:"
            _list(title, _wrapped(", ".join(flow.imports), ""))


def report_needs(options: Options, flows: Iterable[Flow]) -> None:
    """Say what the options need of Dagster's instance, and an executor of other machines."""
    _list("These need more than the file:", [*_needs_of_instance(options)])
    executor = find_executor(options.executor)
    if isinstance(executor, ImportedExecutor):
        head = f"Ops run by {executor.module}.{executor.attribute}. If that is on other machines:"
        _list(head, [*_needs_elsewhere(executor, [flow.backend for flow in flows])])


def _list(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
    for line in lines:
        click.echo(f"    {line}")


def _needs_of_instance(options: Options) -> Iterator[str]:
    if options.notify_on_error or options.notify_on_success:
        yield "notices: Dagster's daemon, and METAFLOW_DAGSTER_WEBHOOK_URL where the file is loaded"
    for pool in pool_names(options):
        yield f"pool {pool}: a limit, as by `dagster instance concurrency set {pool} 4`"
    if options.workflow_priority is not None:
        yield "--workflow-priority: a limit of runs in dagster.yaml, so that some of them wait"
    if options.workflow_timeout is not None:
        yield "--workflow-timeout: run_monitoring in dagster.yaml, for a run whose process is lost"


def _needs_elsewhere(executor: ImportedExecutor, backends: Sequence[Backend]) -> Iterator[str]:
    if executor.extra is not None:
        yield f"pip install {executor.module.replace('_', '-')} wherever the file is loaded"
    if any(backend.datastore == "local" for backend in backends):
        yield "the datastore is local, so they have to share its disk, or use --datastore"
    if any(backend.metadata == "local" for backend in backends):
        yield "the metadata is local, so each keeps what its own steps tell: --metadata"
