"""A module as a whole: claims names, builds each part, puts the parts in order.

Parts: header, imports, constants, helpers, config class, ops, job, schedule, sensors, asset,
definitions.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst
from typing_extensions import assert_never

from metaflow_dagster.emit.asset import asset_list, assets_name
from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    list_of,
    literal,
    name,
    spaced,
)
from metaflow_dagster.emit.config import config_class, needs_raw_config
from metaflow_dagster.emit.constants import constant_statements, constant_values
from metaflow_dagster.emit.header import header_lines, location_header_lines
from metaflow_dagster.emit.imports import import_statements
from metaflow_dagster.emit.job import job_function
from metaflow_dagster.emit.layout import laid_out
from metaflow_dagster.emit.library import runtime_library
from metaflow_dagster.emit.notice import Notice, notice_function, notice_name, notices
from metaflow_dagster.emit.op import ConfigUse, glue_function, step_function
from metaflow_dagster.emit.place import Place
from metaflow_dagster.emit.schedule import schedule_definition, schedule_name
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.emit.trigger import trigger_function, trigger_name
from metaflow_dagster.ir.flow import Trigger
from metaflow_dagster.ir.job import GlueOp, JobPlan, StepOp, inputs
from metaflow_dagster.names import Scope
from metaflow_dagster.options import Options, pool_of


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
    taken: frozenset[str]


def emit_module(plan: JobPlan, options: Options, place: Place) -> str:
    """The text of the definitions file for a plan."""
    identifiers = _claim(plan, options)
    scope = ModuleScope(runtime_library(), identifiers.taken)
    generated = [laid_out(one) for one in _generated(plan, identifiers, options, scope, place)]
    # Constants may refer to further names, so they come before the imports are counted.
    values = constant_values(plan, options, scope, place)
    constants = [laid_out(one) for one in constant_statements(scope, values)]
    body = [*_apart(constants, 0), *_apart(scope.helpers(), 2), *_apart(generated, 2)]
    return _module_text(header_lines(plan.flow, options, place), scope, body)


def emit_location(
    modules: Iterable[str], flow_files: Iterable[str], options: Options, place: Place
) -> str:
    """The text of the file that merges the definitions of several, each in a module beside it."""
    definitions = "defs"
    scope = ModuleScope(runtime_library(), [definitions])
    merge = attribute(scope.ref("Definitions"), "merge")
    loaded = [call(scope.ref("definitions_of"), literal(module)) for module in modules]
    merged = laid_out(assign(name(definitions), call(merge, *loaded)))
    constants = [statement for _, _, statement in scope.constants()]
    body = [*_apart(constants, 0), *_apart(scope.helpers(), 2), *_apart([merged], 2)]
    return _module_text(location_header_lines(flow_files, options, place), scope, body)


def _module_text(header: Iterable[str], scope: ModuleScope, body: Iterable[Statement]) -> str:
    """The text of a module that imports what its scope was asked for."""
    imports = [
        spaced(laid_out(statement), 1 if index == 0 else 0)
        for section in import_statements(scope.imports())
        for index, statement in enumerate(section)
    ]
    comment = [cst.EmptyLine(indent=False, comment=cst.Comment(line)) for line in header]
    return cst.Module([*imports, *body], header=comment).code


def _claim(plan: JobPlan, options: Options) -> _Identifiers:
    scope = Scope(dir(builtins))
    job = scope.claim(plan.name)
    definitions = scope.claim("defs")
    config = scope.claim(f"{plan.flow.name}Config") if plan.flow.parameters else None
    ops = {op.name: scope.claim(op.name) for op in plan.ops()}
    schedule = scope.claim(schedule_name(plan.name)) if plan.flow.schedule else None
    wanted: dict[Trigger | Notice, str] = {
        **{one: trigger_name(plan.name, one) for one in plan.flow.triggers},
        **{one: notice_name(plan.name, one) for one in notices(options)},
    }
    sensors = {one: scope.claim(wish) for one, wish in wanted.items()}
    assets = scope.claim(assets_name(plan.name))
    input_names = {one.name for op in plan.ops() for one in inputs(op)}
    local_names = {"config", "context", "parameters", "task", "trigger", *input_names}
    others = filter(None, (config, schedule))
    own = {job, definitions, *ops.values(), *sensors.values(), assets, *others}
    taken = frozenset(own | local_names)
    return _Identifiers(job, definitions, config, ops, schedule, sensors, assets, taken)


def _generated(
    plan: JobPlan, identifiers: _Identifiers, options: Options, scope: ModuleScope, place: Place
) -> Iterator[Statement]:
    if identifiers.config is not None:
        yield config_class(identifiers.config, plan.flow, scope, place)
    config = None
    if identifiers.config is not None:
        config = ConfigUse(identifiers.config, needs_raw_config(plan.flow))
    for op in plan.ops():
        identifier = identifiers.ops[op.name]
        match op:
            case StepOp():
                pool = pool_of(options, op.step.name)
                yield step_function(identifier, op, None if op.inputs else config, pool, scope)
            case GlueOp():
                yield glue_function(identifier, op, scope)
            case _:
                assert_never(op)
    yield job_function(identifiers.job, plan, identifiers.ops, options, scope)
    yield from _automation(plan, identifiers, scope)
    yield assign(name(identifiers.definitions), _definitions(identifiers, scope))


def _automation(
    plan: JobPlan, identifiers: _Identifiers, scope: ModuleScope
) -> Iterator[Statement]:
    """What starts runs by itself, and what tells of their end."""
    job, schedule = identifiers.job, plan.flow.schedule
    if identifiers.schedule is not None and schedule is not None:
        yield schedule_definition(identifiers.schedule, job, plan, schedule, scope)
    for sensor, identifier in identifiers.sensors.items():
        match sensor:
            case Trigger():
                yield trigger_function(identifier, job, plan, sensor, identifiers.config, scope)
            case Notice():
                yield notice_function(identifier, job, plan, sensor, scope)
            case _:
                assert_never(sensor)
    yield asset_list(identifiers.assets, plan.flow, scope)


def _definitions(identifiers: _Identifiers, scope: ModuleScope) -> Expression:
    schedules = [name(identifiers.schedule)] if identifiers.schedule else []
    sensors = list_of(map(name, identifiers.sensors.values())) if identifiers.sensors else None
    return call(
        scope.ref("Definitions"),
        keywords={
            "assets": name(identifiers.assets),
            "jobs": list_of([name(identifiers.job)]),
            "schedules": list_of(schedules) if schedules else None,
            "sensors": sensors,
        },
    )


def _apart(
    statements: Sequence[Statement] | Iterator[Statement], lines: int
) -> Iterator[Statement]:
    """The statements with blank lines between them, and one before the first at least."""
    for index, statement in enumerate(statements):
        yield spaced(statement, max(lines, 1 if index == 0 else 0))
