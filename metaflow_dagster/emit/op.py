"""The op of a step.

@op(name="TrainFlow__fit", ins={"load": In(str)}, out=Out(str), ...)
def op_fit(context: OpExecutionContext, load: str) -> Output[str]:
    task = run_step(context, "fit", [load])
    return task_output(task)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    function,
    list_of,
    literal,
    name,
    returned,
    subscript,
    text_dict,
    yielded_from,
)
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.ir import (
    BranchOutputs,
    Collected,
    DynamicOutput,
    Input,
    Item,
    One,
    Retries,
    SingleOutput,
    StepOp,
)


def op_function(
    identifier: str, op: StepOp, config: str | None, raw_config: bool, scope: ModuleScope
) -> Statement:
    """The op; `config` is the name of the config class if the op starts a run with parameters."""
    typed_config = None if raw_config else config
    return function(
        identifier,
        list(_parameters(op, typed_config, scope)),
        [*_run(op, config, raw_config, scope), _result(op, scope)],
        decorators=[_decorator(op, config if raw_config else None, scope)],
        returns=_return_type(op, scope),
    )


def _decorator(op: StepOp, raw_config: str | None, scope: ModuleScope) -> Expression:
    schema = call(attribute(name(raw_config), "to_config_schema")) if raw_config else None
    return call(
        scope.ref("op"),
        keywords={
            "name": literal(op.definition),
            "description": literal(op.step.description) if op.step.description else None,
            "config_schema": schema,
            "ins": text_dict({one.name: _in(one, scope) for one in op.inputs})
            if op.inputs
            else None,
            "out": _out(op, scope),
            "retry_policy": _retry_policy(op.step.retries, scope),
            "tags": literal({"dagster/compute_kind": "metaflow"}),
        },
    )


def _in(one: Input, scope: ModuleScope) -> Expression:
    return call(scope.ref("In"), _input_type(one, scope))


def _input_type(one: Input, scope: ModuleScope) -> Expression:
    match one.wire:
        case One() | Item():
            return scope.builtin("str")
        case Collected():
            return subscript(scope.builtin("list"), scope.builtin("str"))
        case _:
            assert_never(one.wire)


def _out(op: StepOp, scope: ModuleScope) -> Expression:
    match op.output:
        case SingleOutput():
            return call(scope.ref("Out"), scope.builtin("str"))
        case DynamicOutput():
            return call(scope.ref("DynamicOut"), scope.builtin("str"))
        case BranchOutputs(branches):
            return text_dict(
                {output: call(scope.ref("Out"), scope.builtin("str")) for _, output in branches}
            )
        case _:
            assert_never(op.output)


def _retry_policy(retries: Retries, scope: ModuleScope) -> Expression | None:
    if not retries.most:
        return None
    delay = retries.minutes_between * 60
    return call(
        scope.ref("RetryPolicy"),
        keywords={
            "max_retries": literal(retries.most),
            "delay": literal(delay) if delay else None,
        },
    )


def _parameters(
    op: StepOp, config: str | None, scope: ModuleScope
) -> Iterator[tuple[str, Expression]]:
    yield "context", scope.ref("OpExecutionContext")
    for one in op.inputs:
        yield one.name, _input_type(one, scope)
    if config is not None:
        yield "config", name(config)


def _run(
    op: StepOp, config: str | None, raw_config: bool, scope: ModuleScope
) -> Iterator[Statement]:
    """The statements that run the step, and leave what came out in `task`."""
    if not op.inputs:
        given = call(scope.ref("start_run"), name("context"), _given(config, raw_config, scope))
        yield assign(name("parameters"), given)
    step = op.step
    yield assign(
        name("task"),
        call(
            scope.ref("run_step"),
            name("context"),
            literal(step.name),
            _input_paths(op),
            keywords={
                "split_index": call(scope.ref("foreach_index"), name("context"))
                if op.follows_foreach
                else None,
                "user_retries": literal(step.retries.user_code) if step.retries.user_code else None,
                "environment": literal(dict(step.environment)) if step.environment else None,
            },
        ),
    )


def _given(config: str | None, raw_config: bool, scope: ModuleScope) -> Expression:
    if config is None:
        return literal({})
    if raw_config:
        return attribute(name("context"), "op_config")
    return call(scope.ref("given_parameters"), name("config"))


def _input_paths(op: StepOp) -> Expression:
    match op.inputs:
        case ():
            return list_of([name("parameters")])
        case (Input(name=one, wire=Collected()),):
            return name(one)
        case inputs:
            return list_of(name(one.name) for one in inputs)


def _result(op: StepOp, scope: ModuleScope) -> Statement:
    task = name("task")
    match op.output:
        case SingleOutput():
            return returned(call(scope.ref("task_output"), task))
        case DynamicOutput():
            return yielded_from(call(scope.ref("foreach_outputs"), task))
        case BranchOutputs(branches):
            outputs = [literal(output) for _, output in branches]
            return yielded_from(call(scope.ref("branch_outputs"), task, *outputs))
        case _:
            assert_never(op.output)


def _return_type(op: StepOp, scope: ModuleScope) -> Expression:
    text = scope.builtin("str")
    match op.output:
        case SingleOutput():
            return subscript(scope.ref("Output"), text)
        case DynamicOutput():
            return subscript(scope.ref("Iterator"), subscript(scope.ref("DynamicOutput"), text))
        case BranchOutputs():
            return subscript(scope.ref("Iterator"), subscript(scope.ref("Output"), text))
        case _:
            assert_never(op.output)
