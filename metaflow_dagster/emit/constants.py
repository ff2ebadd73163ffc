"""The values of the constants that the helpers read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import libcst as cst

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    add,
    call,
    list_of,
    literal,
    name,
    text_dict,
)
from metaflow_dagster.emit.place import Place
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.executors import OwnExecutor, find_executor
from metaflow_dagster.ir.flow import Flow, Literal, Switch, Transition, targets
from metaflow_dagster.ir.job import JobPlan
from metaflow_dagster.options import Options

_HOOKED_STEP = ("dagster", "step")  # our command that runs a step with its decorators' hooks

ConstantValues = Mapping[str, Expression]


def constant_values(
    plan: JobPlan, options: Options, scope: ModuleScope, place: Place
) -> ConstantValues:
    """The value of each constant of the runtime module that depends on the flow."""
    flow = plan.flow
    return {
        "FLOW_FILE": path_expression(flow.file, scope, place),
        "FLOW_NAME": literal(flow.name),
        "JOB_NAME": literal(plan.name),
        "END_EVENT": literal(flow.end_event),
        "CODE_PACKAGE": literal(
            {"sha": flow.code.sha, "metadata": flow.code.metadata} if flow.code else None
        ),
        "METAFLOW_TOP_ARGS": list_of(_top_args(flow, scope, place)),
        "METAFLOW_STEP_ENV": text_dict(dict(_step_environment(flow, scope, place))),
        "FLOW_WITH_DECORATORS": literal(list(flow.decospecs)),
        "STEP_WITH_DECORATORS": literal(
            {step.name: list(step.decorators) for step in flow.steps if step.decorators}
        ),
        "STEP_COMMANDS": literal(
            {step.name: list(_HOOKED_STEP) for step in flow.steps if step.hooks}
        ),
        "STEPS_WITH_CARDS": literal([step.name for step in flow.steps if step.has_cards]),
        "STEP_SOURCES": text_dict(dict(_step_sources(flow, scope, place))),
        "NEXT_STEPS": literal({step.name: _ways(step.transition) for step in flow.steps}),
        "FLOW_CONFIGS": literal({one.name: [one.value, one.is_plain] for one in flow.configs}),
        "RUN_TAGS": literal(list(options.tags)),
        "NAMESPACE": literal(options.namespace),
        "ORIGIN_RUN_ID": literal(options.origin_run_id),
        "OPS_ARE_DELIVERED": literal(not isinstance(find_executor(options.executor), OwnExecutor)),
    }


def _step_sources(flow: Flow, scope: ModuleScope, place: Place) -> Iterator[tuple[str, Expression]]:
    """File and class of the steps that the flow's own class does not define."""
    for step in flow.steps:
        if step.class_name and (step.location.file, step.class_name) != (flow.file, flow.name):
            file = path_expression(step.location.file, scope, place)
            yield step.name, list_of([file, literal(step.class_name)])


def _ways(transition: Transition) -> Literal:
    """The steps that a transition leads to, for each way it may be taken."""
    names = targets(transition)
    return [[one] for one in names] if isinstance(transition, Switch) else [list(names)]


def path_expression(path: str, scope: ModuleScope, place: Place) -> Expression:
    """An expression for an absolute path, relative to the generated file where that is portable."""
    relative = place.relative(path)
    if relative is None:
        return literal(path)
    if relative == ".":
        return scope.ref("HERE")
    steps = relative.split("/")
    joined = _os_path(scope, "join")(scope.ref("HERE"), *map(literal, steps))
    return _os_path(scope, "normpath")(joined) if steps[0] == ".." else joined


def _os_path(scope: ModuleScope, function: str) -> Callable[..., Expression]:
    module = scope.ref("os")

    def called(*arguments: Expression) -> Expression:
        path = cst.Attribute(module.deep_clone(), name("path"))
        return call(cst.Attribute(path, name(function)), *arguments)

    return called


def _top_args(flow: Flow, scope: ModuleScope, place: Place) -> Iterator[Expression]:
    backend = flow.backend
    yield literal("--quiet")
    yield literal("--no-pylint")
    yield literal(f"--metadata={backend.metadata}")
    yield literal(f"--environment={backend.environment}")
    yield literal(f"--datastore={backend.datastore}")
    if backend.datastore_root is not None:
        yield _root_option(backend.datastore_root, scope, place)
    yield literal(f"--event-logger={backend.event_logger}")
    yield literal(f"--monitor={backend.monitor}")
    yield from map(literal, flow.top_options)


def _root_option(root: str, scope: ModuleScope, place: Place) -> Expression:
    if os.path.isabs(root) and place.relative(root) is not None:
        return add(literal("--datastore-root="), path_expression(root, scope, place))
    return literal(f"--datastore-root={root}")


def _step_environment(
    flow: Flow, scope: ModuleScope, place: Place
) -> Iterator[tuple[str, Expression]]:
    if flow.backend.local_sysroot is not None:
        sysroot = path_expression(flow.backend.local_sysroot, scope, place)
        yield "METAFLOW_DATASTORE_SYSROOT_LOCAL", sysroot
    for variable, value in flow.backend.settings:
        yield variable, literal(value)


def constant_statements(scope: ModuleScope, values: ConstantValues) -> Sequence[Statement]:
    """The constants in use, with the flow's values where they have one."""
    return [
        _with_value(statement, values[original]) if original in values else statement
        for original, _, statement in scope.constants()
    ]


def _with_value(statement: cst.SimpleStatementLine, value: Expression) -> Statement:
    assignment = statement.body[0]
    assert isinstance(assignment, (cst.Assign, cst.AnnAssign))
    return statement.with_changes(body=[assignment.with_changes(value=value)])
