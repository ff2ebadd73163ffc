"""The settings of the flow in the file.

FLOW = FlowSettings(
    name="TrainFlow",
    file=os.path.normpath(os.path.join(HERE, "..", "flows", "train.py")),
    ...
)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    list_of,
    literal,
    name,
    text_dict,
)
from metaflow_dagster.emit.partitions import partition_parameters
from metaflow_dagster.emit.place import Place
from metaflow_dagster.emit.scope import FLOW, HERE, ModuleScope
from metaflow_dagster.executors import OwnExecutor, find_executor
from metaflow_dagster.ir.flow import Backend, Flow, Literal, Switch, Transition, targets
from metaflow_dagster.ir.job import JobPlan
from metaflow_dagster.options import Options


def here_statement(scope: ModuleScope) -> Statement:
    """The directory of the file, by its name."""
    return assign(name(HERE), here_expression(scope))


def here_expression(scope: ModuleScope) -> Expression:
    """The directory of the file."""
    file = _os_path(scope, "abspath")(name("__file__"))
    return _os_path(scope, "dirname")(file)


def settings_statement(
    plan: JobPlan, options: Options, scope: ModuleScope, place: Place
) -> Statement:
    """The flow's settings; what is as by default is left out (runtime/settings.py)."""
    return assign(
        name(FLOW),
        call(scope.ref("FlowSettings"), keywords=_keywords(plan, options, scope, place)),
    )


def _keywords(
    plan: JobPlan, options: Options, scope: ModuleScope, place: Place
) -> Mapping[str, Expression | None]:
    flow = plan.flow
    # A file whose flow comes out of the datastore is moved without that.
    store_place = replace(place, project=None) if flow.code else place
    return {
        "name": literal(flow.name),
        "description": literal(flow.description) if flow.description else None,
        "job": literal(plan.name) if plan.name != flow.name else None,
        "file": path_expression(flow.file, scope, place),
        "here": scope.ref(HERE),
        "end_event": literal(flow.end_event),
        "next_steps": literal({step.name: _ways(step.transition) for step in flow.steps}),
        **dict(_backend(flow.backend, scope, store_place)),
        "top_options": _texts(flow.top_options),
        "variables": _variables(flow.backend, scope, store_place),
        "run_tags": _texts(options.tags),
        "namespace": None if options.namespace is None else literal(options.namespace),
        "origin_run_id": literal(options.origin_run_id) if options.origin_run_id else None,
        "flow_decorators": _texts(flow.decospecs),
        "step_decorators": _by_step(
            {step.name: literal(list(step.decorators)) for step in flow.steps if step.decorators}
        ),
        "hooked_steps": _texts([step.name for step in flow.steps if step.hooks]),
        "inherited_steps": _by_step(dict(_inherited_steps(flow, scope, place))),
        "is_delivered": None if _has_own_executor(options) else literal(True),
        "code": _code(flow, scope),
        "cards": _cards(flow, scope),
        "configs": _configs(flow, scope),
        "partitions": partition_parameters(flow.dimensions, scope),
    }


def _texts(texts: Sequence[str]) -> Expression | None:
    return literal(list(texts)) if texts else None


def _by_step(values: Mapping[str, Expression]) -> Expression | None:
    return text_dict(values) if values else None


def _backend(
    backend: Backend, scope: ModuleScope, place: Place
) -> Iterator[tuple[str, Expression]]:
    for field in ("metadata", "environment", "datastore", "event_logger", "monitor"):
        if (value := getattr(backend, field)) != getattr(Backend(), field):
            yield field, literal(value)
    if backend.datastore_root is not None:
        yield "datastore_root", _root(backend.datastore_root, scope, place)


def _root(root: str, scope: ModuleScope, place: Place) -> Expression:
    return path_expression(root, scope, place) if os.path.isabs(root) else literal(root)


def _variables(backend: Backend, scope: ModuleScope, place: Place) -> Expression | None:
    variables = {variable: literal(value) for variable, value in backend.settings}
    if backend.local_sysroot is not None:
        sysroot = path_expression(backend.local_sysroot, scope, place)
        variables = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": sysroot, **variables}
    return text_dict(variables) if variables else None


def _inherited_steps(
    flow: Flow, scope: ModuleScope, place: Place
) -> Iterator[tuple[str, Expression]]:
    """File and class of the steps that the flow's own class does not define."""
    for step in flow.steps:
        if step.class_name and (step.location.file, step.class_name) != (flow.file, flow.name):
            file = path_expression(step.location.file, scope, place)
            yield step.name, list_of([file, literal(step.class_name)])


def _has_own_executor(options: Options) -> bool:
    return isinstance(find_executor(options.executor), OwnExecutor)


def _code(flow: Flow, scope: ModuleScope) -> Expression | None:
    if flow.code is None:
        return None
    described = {"sha": literal(flow.code.sha), "metadata": literal(flow.code.metadata)}
    return call(scope.ref("CodePackage"), keywords=described)


def _cards(flow: Flow, scope: ModuleScope) -> Expression | None:
    steps: list[Literal] = [step.name for step in flow.steps if step.has_cards]
    return call(scope.ref("CardLinks"), literal(steps)) if steps else None


def _configs(flow: Flow, scope: ModuleScope) -> Expression | None:
    values: dict[str, Literal] = {
        config.name: (config.value, config.is_plain) for config in flow.configs
    }
    return call(scope.ref("FlowConfigs"), literal(values)) if values else None


def _ways(transition: Transition) -> Literal:
    """The steps that a transition leads to, for each way it may be taken."""
    names = targets(transition)
    return [[target] for target in names] if isinstance(transition, Switch) else [list(names)]


def path_expression(path: str, scope: ModuleScope, place: Place) -> Expression:
    """An expression for an absolute path, relative to the generated file where that is portable."""
    relative = place.relative(path)
    if relative is None:
        return literal(path)
    if relative == ".":
        return scope.ref(HERE)
    steps = relative.split("/")
    joined = _os_path(scope, "join")(scope.ref(HERE), *map(literal, steps))
    return _os_path(scope, "normpath")(joined) if steps[0] == ".." else joined


def _os_path(scope: ModuleScope, function: str) -> Callable[..., Expression]:
    called = attribute(scope.ref("os"), "path", function)
    return lambda *arguments: call(called.deep_clone(), *arguments)
