"""The job: a function that invokes the ops and wires them.

@job(name="TrainFlow")
def TrainFlow():
    def each_start(item):
        return op_fit.alias("op_fit")(item)

    start = op_start.alias("op_start")()
    fit = start.map(each_start)
    op_join.alias("op_join")(fit.collect())
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    expression,
    function,
    literal,
    name,
    names_tuple,
    returned,
    spaced,
)
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.ir import (
    BranchOutputs,
    Collected,
    DynamicOutput,
    Input,
    Item,
    JobPlan,
    Lane,
    One,
    SingleOutput,
    Source,
    StepOp,
)
from metaflow_dagster.names import Scope, ascii_name
from metaflow_dagster.options import Options

MAX_RUNTIME_TAG = "dagster/max_runtime"  # dagster/_core/storage/tags.py: MAX_RUNTIME_SECONDS_TAG


def job_function(
    identifier: str,
    plan: JobPlan,
    op_identifiers: Mapping[str, str],
    options: Options,
    scope: ModuleScope,
) -> Statement:
    """The job; `op_identifiers` are the variables that hold the ops, by op name."""
    used = {one.wire.source for op in plan.ops() for one in op.inputs}
    names = Scope(op_identifiers.values())
    body = _Body(op_identifiers, names, {}, frozenset(used))
    return function(
        identifier,
        [],
        list(body.statements(plan)),
        decorators=[_decorator(plan, options, scope)],
    )


def _decorator(plan: JobPlan, options: Options, scope: ModuleScope) -> Expression:
    tags: dict[str, str] = {"metaflow/flow": plan.flow.name}
    if options.workflow_timeout is not None:
        tags[MAX_RUNTIME_TAG] = str(options.workflow_timeout)
    return call(
        scope.ref("job"),
        keywords={
            "name": literal(plan.name),
            "description": literal(plan.flow.description) if plan.flow.description else None,
            "tags": literal(dict(tags)),
            "executor_def": _executor(options, scope),
        },
    )


def _executor(options: Options, scope: ModuleScope) -> Expression | None:
    if options.max_workers is None:
        return None
    configured = attribute(scope.ref("multiprocess_executor"), "configured")
    return call(configured, literal({"max_concurrent": options.max_workers}))


@dataclass(frozen=True, slots=True)
class _Body:
    """The statements of the job, and the variable that holds each output."""

    ops: Mapping[str, str]
    scope: Scope
    variables: dict[Source, str]
    used: frozenset[Source]

    def statements(self, plan: JobPlan) -> Iterator[Statement]:
        for placement in plan.placements:
            match placement:
                case StepOp():
                    yield self._invoke(placement)
                case Lane():
                    yield from self._lane(placement)
                case _:
                    assert_never(placement)

    def _invoke(self, op: StepOp) -> Statement:
        node = call(attribute(name(self.ops[op.name]), "alias"), literal(op.name))
        invocation = call(node, *(self._argument(one) for one in op.inputs))
        outputs = _outputs(op)
        if not self.used.intersection(outputs):
            return expression(invocation)
        wishes = [_variable(op, source) for source in outputs]
        self.variables.update(
            (source, self.scope.claim(wish)) for source, wish in zip(outputs, wishes, strict=True)
        )
        return assign(names_tuple([self.variables[source] for source in outputs]), invocation)

    def _argument(self, one: Input) -> Expression:
        variable = name(self.variables[one.wire.source])
        match one.wire:
            case One() | Item():
                return variable
            case Collected():
                return call(attribute(variable, "collect"))
            case _:
                assert_never(one.wire)

    def _lane(self, lane: Lane) -> Iterator[Statement]:
        """The lane's ops as a function of one item, and its mapping over the items."""
        source = self.variables[lane.source]
        each = self.scope.claim(f"each_{source}")
        inside = dict(self.variables)
        item = self.scope.claim("item")
        inside[lane.source] = item
        body = _Body(self.ops, self.scope, inside, self.used)
        statements = [body._invoke(op) for op in lane.ops]
        results = names_tuple([inside[result] for result in lane.results])
        yield spaced(function(each, [(item, None)], [*statements, returned(results)]), 1)
        outside = [self.scope.claim(f"all_{inside[result]}") for result in lane.results]
        self.variables.update(zip(lane.results, outside, strict=True))
        mapped = call(attribute(name(source), "map"), name(each))
        yield spaced(assign(names_tuple(outside), mapped), 1)


def _outputs(op: StepOp) -> Sequence[Source]:
    """The outputs in the order in which Dagster returns them."""
    match op.output:
        case SingleOutput() | DynamicOutput():
            return [Source(op.name)]
        case BranchOutputs(branches):
            return [Source(op.name, output) for _, output in branches]
        case _:
            assert_never(op.output)


def _variable(op: StepOp, source: Source) -> str:
    if source.output is None:
        return ascii_name(op.step.name)
    return f"{ascii_name(op.step.name)}_{source.output}"
