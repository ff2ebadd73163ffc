"""The outputs of ops: as Dagster is told of them, and how a body gives them.

In the graph-backed form each is kept by a resource of the flow's own, and an op has an output
without a value for each artifact that is an asset.
"""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    call,
    literal,
    name,
    returned,
    subscript,
    text_dict,
    yielded,
    yielded_from,
)
from metaflow_dagster.emit.form import GraphForm
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.ir.flow import End
from metaflow_dagster.ir.job import (
    ForeachList,
    ForeachOutput,
    GlueOp,
    NodesOutput,
    SplitOutputs,
    StepOp,
    SwitchOutputs,
    TaskOutput,
)

RESULT = "result"  # Dagster's name for the only output of an op


def step_outputs(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> Expression | None:
    """The outputs of a step's op, unless Dagster reads them from its annotation."""
    if form is None and _is_read(op):
        return None
    own = _own_outputs(op, form, scope)
    artifacts = {} if form is None else form.outputs_of(op.step.name)
    if not artifacts:
        return _without_name(op, own)
    return text_dict({**own, **{output: _artifact_out(scope) for output in artifacts}})


def _artifact_out(scope: ModuleScope) -> Expression:
    nothing = {"is_required": literal(False)}
    return call(scope.ref("Out"), scope.ref("Nothing"), keywords=nothing)


def _without_name(op: StepOp, outputs: Mapping[str, Expression]) -> Expression:
    """The only output without its name, or those of branches by theirs."""
    match op.output:
        case SplitOutputs() | SwitchOutputs():
            return text_dict(outputs)
        case _:
            return outputs[RESULT]


def _is_read(op: StepOp) -> bool:
    """Whether Dagster reads the output of an op from its annotation."""
    return isinstance(op.output, (TaskOutput, ForeachList, NodesOutput))


def _own_outputs(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> dict[str, Expression]:
    """The outputs by name that hold paths of tasks."""
    kept = _kept(form)
    match op.output:
        case TaskOutput():
            return {RESULT: call(scope.ref("Out"), scope.builtin("str"), keywords=kept)}
        case ForeachList() | NodesOutput():
            return {RESULT: call(scope.ref("Out"), _paths(scope), keywords=kept)}
        case ForeachOutput():
            return {RESULT: call(scope.ref("DynamicOut"), scope.builtin("str"), keywords=kept)}
        case SplitOutputs(branches):
            return {
                branch: call(scope.ref("Out"), scope.builtin("str"), keywords=_kept(form))
                for _, branch in branches
            }
        case SwitchOutputs(branches):
            return {branch: _optional_out(form, scope) for _, branch in branches}
        case _:
            assert_never(op.output)


def _optional_out(form: GraphForm | None, scope: ModuleScope) -> Expression:
    optional = {"is_required": literal(False), **_kept(form)}
    return call(scope.ref("Out"), scope.builtin("str"), keywords=optional)


def _kept(form: GraphForm | None) -> dict[str, Expression]:
    """Which resource keeps an output; the usual one outside of graphs."""
    return {} if form is None else {"io_manager_key": literal(form.io_manager)}


def glue_outputs(op: GlueOp, form: GraphForm | None, scope: ModuleScope) -> Expression | None:
    """The outputs of a glue op, unless Dagster reads them from its annotation."""
    if op.glue.is_dynamic:
        return call(scope.ref("DynamicOut"), _glue_value(op, scope), keywords=_kept(form))
    if form is None:
        return None
    return call(scope.ref("Out"), _glue_value(op, scope), keywords=_kept(form))


def glue_type(op: GlueOp, scope: ModuleScope) -> Expression:
    """What the function of a glue op returns."""
    value = _glue_value(op, scope)
    if not op.glue.is_dynamic:
        return value
    return subscript(scope.ref("Iterator"), subscript(scope.ref("DynamicOutput"), value))


def _glue_value(op: GlueOp, scope: ModuleScope) -> Expression:
    """The type of the value, or of one item, that a glue op gives."""
    return _paths(scope) if op.glue.gives_lists else scope.builtin("str")


def _paths(scope: ModuleScope) -> Expression:
    return subscript(scope.builtin("list"), scope.builtin("str"))


def result(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> Statement:
    """The last statement of a step's op, which gives what the ops after it need."""
    helper = _helper(op, form, scope)
    if not _is_read(op):
        return yielded_from(helper)
    return yielded(helper) if form and form.outputs_of(op.step.name) else returned(helper)


def _helper(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> Expression:
    task = name("task")
    match op.output:
        case TaskOutput() if form and isinstance(op.step.transition, End):
            return call(scope.ref("end_output"), scope.ref(FLOW), name("context"), task)
        case TaskOutput():
            return call(scope.ref("task_output"), task)
        case ForeachList():
            return call(scope.ref("foreach_list"), task)
        case NodesOutput():
            return call(scope.ref("nodes_output"), task)
        case ForeachOutput():
            return call(scope.ref("foreach_outputs"), task)
        case SplitOutputs(branches):
            outputs = [literal(branch) for _, branch in branches]
            return call(scope.ref("split_outputs"), task, *outputs)
        case SwitchOutputs(branches):
            return call(scope.ref("switch_output"), task, literal(dict(branches)))
        case _:
            assert_never(op.output)


def return_type(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> Expression:
    """What the function of a step's op returns."""
    gives = _value_type(op, scope)
    is_generator = not _is_read(op) or bool(form and form.outputs_of(op.step.name))
    return subscript(scope.ref("Iterator"), gives) if is_generator else gives


def _value_type(op: StepOp, scope: ModuleScope) -> Expression:
    match op.output:
        case TaskOutput() | SplitOutputs() | SwitchOutputs():
            return subscript(scope.ref("Output"), scope.builtin("str"))
        case ForeachList() | NodesOutput():
            return subscript(scope.ref("Output"), _paths(scope))
        case ForeachOutput():
            return subscript(scope.ref("DynamicOutput"), scope.builtin("str"))
        case _:
            assert_never(op.output)
