"""A module as a whole: claims names, builds each part, puts the parts in order.

Parts: header, imports, what the file holds of the runtime, settings, config class, ops, job,
schedule, sensors, asset, definitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst
from typing_extensions import assert_never

from metaflow_dagster.emit.asset import (
    asset_list,
    assets_name,
    common_keywords,
    external_assets,
    upstream_keys,
)
from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    commented,
    expression,
    list_of,
    literal,
    name,
    spaced,
)
from metaflow_dagster.emit.config import config_class, needs_raw_config
from metaflow_dagster.emit.delivery import delivery_of
from metaflow_dagster.emit.form import GraphForm, graph_form, graph_name
from metaflow_dagster.emit.graph import asset_job, asset_statement, graph_function
from metaflow_dagster.emit.header import (
    header_lines,
    location_header_lines,
    shared_header_lines,
)
from metaflow_dagster.emit.imports import import_statements
from metaflow_dagster.emit.job import job_function
from metaflow_dagster.emit.layout import laid_out
from metaflow_dagster.emit.library import Imported, runtime_library
from metaflow_dagster.emit.notice import Notice, notice_function, notice_name, notices
from metaflow_dagster.emit.op import ConfigUse, glue_function, step_function
from metaflow_dagster.emit.partitions import partitions_name, partitions_statement
from metaflow_dagster.emit.place import Place
from metaflow_dagster.emit.publications import checks_name, checks_statement, publications
from metaflow_dagster.emit.schedule import schedule_name, schedule_of
from metaflow_dagster.emit.scope import FLOW, HERE, ModuleScope
from metaflow_dagster.emit.settings import here_expression, here_statement, settings_statement
from metaflow_dagster.emit.trigger import trigger_function, trigger_name
from metaflow_dagster.ir.flow import Trigger
from metaflow_dagster.ir.job import GlueOp, JobPlan, StepOp
from metaflow_dagster.options import Options, pool_of
from metaflow_dagster.version import SERIES, VERSION

MARK_OF_FLOW = "# ---- The flow itself ----"


@dataclass(frozen=True, slots=True)
class _Identifiers:
    """The names in the module that are the user's, or that users import."""

    job: str
    definitions: str
    config: str | None
    ops: Mapping[str, str]  # by op name
    schedule: str | None
    sensors: Mapping[Trigger | Notice, str]
    assets: str
    partitions: str | None
    checks: str | None
    graph: str | None
    asset: str | None


def emit_module(plan: JobPlan, options: Options, place: Place) -> str:
    """The text of the definitions file for a plan."""
    scope = ModuleScope(delivery_of(options.runtime or "inline"))
    identifiers = _claim(plan, options, scope)
    own = [
        settings_statement(plan, options, scope, place),
        *_generated(plan, identifiers, options, scope, place),
    ]
    return _module_text(header_lines(plan.flow, plan.name, options, place), scope, own)


def emit_location(
    modules: Iterable[str], flow_files: Iterable[str], options: Options, place: Place
) -> str:
    """The text of the file that merges the definitions of several, each in a module beside it."""
    scope = ModuleScope(delivery_of(options.runtime or "shared"))
    merge = attribute(scope.ref("Definitions"), "merge")
    loaded = [
        call(scope.ref("definitions_of"), scope.ref(HERE), name("__package__"), literal(module))
        for module in modules
    ]
    merged = assign(name("defs"), call(merge, *loaded))
    return _module_text(location_header_lines(flow_files, options, place), scope, [merged])


def emit_shared_runtime() -> str:
    """The text of the runtime that the files of a directory import."""
    library = runtime_library()
    imports = [(imported, here) for here, imported in library.imports.items()]
    statements = [
        cst.Module([*_import_statements(imports)]).code,
        "\n",
        *library.constants.values(),
        *(f"\n\n{helper}" for helper in library.helpers.values()),
        "\n\n__getattr__ = missing_name\n",
    ]
    code = "".join(statements)
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    header = shared_header_lines(VERSION, digest)
    return "".join(f"{line}\n" for line in header) + code


def _module_text(header: Sequence[str], scope: ModuleScope, own: Iterable[Statement]) -> str:
    """The text of a module that imports or holds what its scope was asked for.

    Where it holds the runtime, the header says where the flow's own part begins.
    """
    flow_part = [*_separated([laid_out(each) for each in [*_beginning(scope), *own]])]
    runtime = [*_apart(scope.constants(), 0), *_apart(scope.helpers(), 2)]
    shared = [*_shared_import(scope)]
    above = [*_import_statements(scope.imports()), *shared, *runtime]
    if not runtime:
        return _with_header(header, [*above, *flow_part])
    first = spaced(commented(flow_part[0], MARK_OF_FLOW), 2)
    text = _with_header([*header, _begins_at(0)], [*above, first, *flow_part[1:]])
    line = text.splitlines().index(MARK_OF_FLOW) + 1
    return text.replace(_begins_at(0), _begins_at(line), 1)


def _with_header(header: Sequence[str], body: Sequence[Statement]) -> str:
    comment = [cst.EmptyLine(indent=False, comment=cst.Comment(line)) for line in header]
    return cst.Module(body, header=comment).code


def _begins_at(line: int) -> str:
    return f"# What is above line {line} is the same for all flows like this one."


def _beginning(scope: ModuleScope) -> Iterator[Statement]:
    """The first statements of the flow's part: the file's directory, and the runtime it needs."""
    yield here_statement(scope)
    if scope.needs_runtime():
        arguments = [literal(SERIES), name("__file__")]
        yield expression(call(scope.ref("require_runtime"), *arguments))


def _shared_import(scope: ModuleScope) -> Iterator[Statement]:
    """The import from the runtime beside the file, which may be in no package."""
    imports = [*scope.shared_imports()]
    if imports:
        path = attribute(scope.ref("sys"), "path", "append")
        yield spaced(expression(call(path, here_expression(scope))), 1)
        yield from _import_statements(imports)


def _import_statements(imports: Iterable[tuple[Imported, str]]) -> Iterator[Statement]:
    """The imports in sections."""
    for section in import_statements(imports):
        for index, each in enumerate(section):
            yield spaced(laid_out(each), 1 if index == 0 else 0)


def _claim(plan: JobPlan, options: Options, scope: ModuleScope) -> _Identifiers:
    job = scope.claim(plan.name)
    definitions = scope.claim("defs")
    config = scope.claim(f"{plan.flow.name}Config") if plan.flow.config_parameters else None
    ops = {op.name: scope.claim(op.name) for op in plan.ops()}
    schedule = scope.claim(schedule_name(plan.name)) if plan.flow.schedule else None
    wanted: dict[Trigger | Notice, str] = {
        **{trigger: trigger_name(plan.name, trigger) for trigger in plan.flow.triggers},
        **{notice: notice_name(plan.name, notice) for notice in notices(options)},
    }
    sensors = {origin: scope.claim(wish) for origin, wish in wanted.items()}
    assets = scope.claim(assets_name(plan.name))
    partitions = scope.claim(partitions_name(plan.name)) if plan.flow.dimensions else None
    checks = scope.claim(checks_name(plan.name)) if plan.flow.checks else None
    graph = scope.claim(graph_name(plan.name)) if options.as_assets else None
    asset = scope.claim(f"{plan.name}_asset") if options.as_assets else None
    return _Identifiers(
        job=job,
        definitions=definitions,
        config=config,
        ops=ops,
        schedule=schedule,
        sensors=sensors,
        assets=assets,
        partitions=partitions,
        checks=checks,
        graph=graph,
        asset=asset,
    )


def _generated(
    plan: JobPlan, identifiers: _Identifiers, options: Options, scope: ModuleScope, place: Place
) -> Iterator[Statement]:
    if identifiers.partitions is not None:
        yield partitions_statement(identifiers.partitions, plan.flow.dimensions, scope)
    if identifiers.config is not None:
        yield config_class(identifiers.config, plan.flow, scope, place)
    if identifiers.checks is not None:
        yield checks_statement(identifiers.checks, plan.flow, scope)
    config = None
    if identifiers.config is not None:
        config = ConfigUse(identifiers.config, needs_raw_config(plan.flow))
    form = None
    if options.as_assets:
        form = graph_form(plan.flow, plan.name, upstream_keys(plan.flow, options))
    for op in plan.ops():
        identifier = identifiers.ops[op.name]
        match op:
            case StepOp():
                pool = pool_of(options, op.step.name)
                told = [*publications(op.step, plan.flow, identifiers.checks, form, scope)]
                given = None if op.inputs else config
                yield step_function(identifier, op, given, pool, told, form, scope)
            case GlueOp():
                yield glue_function(identifier, op, form, scope)
            case _:
                assert_never(op)
    common = dict(common_keywords(plan.flow, options, identifiers.partitions, scope))
    if form is None:
        own = external_assets(plan.flow, options, common, scope)
        yield job_function(
            identifiers.job, plan, identifiers.ops, identifiers.partitions, options, scope
        )
    else:
        own = [name(str(identifiers.asset))]
        yield from _graph(plan, identifiers, form, common, options, scope)
    yield from _automation(plan, identifiers, form, scope)
    yield asset_list(identifiers.assets, own, plan.flow, scope)
    yield assign(name(identifiers.definitions), _definitions(identifiers, scope))


def _graph(
    plan: JobPlan,
    identifiers: _Identifiers,
    form: GraphForm,
    common: Mapping[str, Expression],
    options: Options,
    scope: ModuleScope,
) -> Iterator[Statement]:
    """The graph of a flow, the assets that it is, and the job of these."""
    graph, asset = str(identifiers.graph), str(identifiers.asset)
    yield graph_function(graph, plan, identifiers.ops, identifiers.config, form, scope)
    yield asset_statement(asset, graph, plan, form, common, options, scope)
    yield asset_job(identifiers.job, asset, plan, options, scope)


def _automation(
    plan: JobPlan, identifiers: _Identifiers, form: GraphForm | None, scope: ModuleScope
) -> Iterator[Statement]:
    """The schedule, and the sensors that start runs or tell of their end."""
    job, partitions, schedule = identifiers.job, identifiers.partitions, plan.flow.schedule
    if identifiers.schedule is not None and schedule is not None:
        yield schedule_of(identifiers.schedule, job, plan, schedule, partitions, scope)
    for sensor, identifier in identifiers.sensors.items():
        match sensor:
            case Trigger():
                yield trigger_function(
                    identifier, job, plan, sensor, identifiers.config, partitions, form, scope
                )
            case Notice():
                yield notice_function(identifier, job, plan, sensor, scope)
            case _:
                assert_never(sensor)


def _definitions(identifiers: _Identifiers, scope: ModuleScope) -> Expression:
    schedules = [name(identifiers.schedule)] if identifiers.schedule else []
    sensors = list_of(map(name, identifiers.sensors.values())) if identifiers.sensors else None
    checks = None
    if identifiers.checks is not None:
        checks = call(scope.ref("checks_definitions"), scope.ref(FLOW), name(identifiers.checks))
    return call(
        scope.ref("Definitions"),
        keywords={
            "assets": name(identifiers.assets),
            "asset_checks": checks,
            "jobs": list_of([name(identifiers.job)]),
            "schedules": list_of(schedules) if schedules else None,
            "sensors": sensors,
        },
    )


def _separated(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The statements with two blank lines around functions and classes, and one elsewhere."""
    is_simple = True
    for each in statements:
        was_simple, is_simple = is_simple, isinstance(each, cst.SimpleStatementLine)
        yield spaced(each, 1 if is_simple and was_simple else 2)


def _apart(
    statements: Sequence[Statement] | Iterator[Statement], lines: int
) -> Iterator[Statement]:
    """The statements with blank lines between them, and one before the first at least."""
    for index, statement in enumerate(statements):
        yield spaced(statement, max(lines, 1 if index == 0 else 0))
