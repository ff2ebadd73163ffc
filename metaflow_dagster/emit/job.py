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

from typing_extensions import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    attribute,
    call,
    expression,
    function,
    list_of,
    literal,
    name,
    names_tuple,
    returned,
    spaced,
    text_dict,
)
from metaflow_dagster.emit.form import GraphForm
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.executors import ImportedExecutor, OwnExecutor, OwnName, find_executor
from metaflow_dagster.ir.flow import Flow, Literal
from metaflow_dagster.ir.job import (
    Collected,
    FanIn,
    ForeachOutput,
    GlueOp,
    Input,
    Item,
    JobPlan,
    Lane,
    One,
    Source,
    StepOp,
    inputs,
    outputs,
    sources,
)
from metaflow_dagster.names import Scope, ascii_name
from metaflow_dagster.options import Options, preloaded, run_tags, starts_warm

PRIORITY_TAG = "dagster/priority"  # dagster/_core/storage/tags.py
MAX_RUNTIME_TAG = "dagster/max_runtime"  # dagster/_core/storage/tags.py: MAX_RUNTIME_SECONDS_TAG


def job_function(
    identifier: str,
    plan: JobPlan,
    op_identifiers: Mapping[str, str],
    partitions: str | None,
    options: Options,
    scope: ModuleScope,
) -> Statement:
    """The job; `op_identifiers` are the variables that hold the ops, by op name.

    `partitions` is the variable that holds the partitions of its runs, if they have some.
    """
    body = JobBody(op_identifiers, Scope(op_identifiers.values()), {}, used_outputs(plan))
    return function(
        identifier,
        [],
        list(body.statements(plan)),
        decorators=[_decorator(plan, partitions, options, scope)],
        returns=literal(None),
    )


def used_outputs(plan: JobPlan) -> frozenset[Source]:
    """The outputs that an op takes."""
    wires = (op_input.wire for op in plan.ops() for op_input in inputs(op))
    return frozenset(source for wire in wires for source in sources(wire))


def _decorator(
    plan: JobPlan, partitions: str | None, options: Options, scope: ModuleScope
) -> Expression:
    return call(
        scope.ref("job"),
        keywords={
            "name": literal(plan.name),
            "description": call(scope.ref("flow_description"), scope.ref(FLOW)),
            "tags": literal(job_tags(plan, options)),
            "metadata": text_dict({"code": call(scope.ref("code_references"), scope.ref(FLOW))}),
            "partitions_def": name(partitions) if partitions else None,
            "executor_def": executor_of(plan.flow, options, scope),
            "resource_defs": text_dict(
                {"io_manager": call(scope.ref("datastore_io_manager"), scope.ref(FLOW))}
            ),
        },
    )


def flow_tags(flow: Flow) -> dict[str, str]:
    """The tags of all that Dagster has of a flow."""
    tags = {"metaflow/flow": flow.name}
    if flow.project:
        tags.update({"metaflow/project": flow.project.name, "metaflow/branch": flow.project.branch})
    return tags


def job_tags(plan: JobPlan, options: Options) -> dict[str, Literal]:
    """The tags of the job, which its runs have, too."""
    tags: dict[str, Literal] = {**flow_tags(plan.flow), **run_tags(options)}
    if options.workflow_timeout is not None:
        tags[MAX_RUNTIME_TAG] = str(options.workflow_timeout)
    if options.workflow_priority is not None:
        priority = str(options.workflow_priority)
        tags.update(dict.fromkeys(_priority_tags(options), priority))
    return tags


def _priority_tags(options: Options) -> Iterator[str]:
    yield PRIORITY_TAG
    match find_executor(options.executor):
        case ImportedExecutor(priority_tag=str(name)):
            yield name


def executor_of(flow: Flow, options: Options, scope: ModuleScope) -> Expression:
    executor = find_executor(options.executor)
    limit = [] if options.max_workers is None else [literal(options.max_workers)]
    match executor:
        case OwnExecutor(name):
            warm = _warm_processes(flow, options, scope) if starts_warm(options) else None
            return _own_executor(name, limit, warm, scope)
        case ImportedExecutor(module, attribute):
            imported = scope.imported(module, attribute)
            return call(scope.ref("limited_executor"), imported, *limit) if limit else imported
        case None:
            raise ValueError(f"There is no executor {options.executor!r}.")
        case _:
            assert_never(executor)


def _warm_processes(flow: Flow, options: Options, scope: ModuleScope) -> Expression:
    modules = tuple(preloaded(options, flow.imports))
    preload = call(scope.ref("PreloadedModules"), literal(modules)) if modules else None
    return call(scope.ref("warm_processes"), scope.ref(FLOW), keywords={"preload": preload})


def _own_executor(
    name: OwnName, limit: Sequence[Expression], warm: Expression | None, scope: ModuleScope
) -> Expression:
    match name:
        case "threads":
            return call(scope.ref("threads_executor"), *limit, keywords={"processes": warm})
        case "multiprocess":
            keywords = {"flow": scope.ref(FLOW)}
            return call(scope.ref("processes_executor"), *limit, keywords=keywords)
        case "in_process":
            return scope.ref("in_process_executor")
        case _:
            assert_never(name)


@dataclass(frozen=True, slots=True)
class JobBody:
    """The statements of the job, and the variable that holds each output.

    In the graph-backed form, the first op takes the graph's inputs, and ops have more outputs.
    """

    ops: Mapping[str, str]
    scope: Scope
    variables: dict[Source, str]
    used: frozenset[Source]
    form: GraphForm | None = None

    def statements(self, plan: JobPlan) -> Iterator[Statement]:
        for placement in plan.placements:
            match placement:
                case StepOp() | GlueOp():
                    yield self._invoke(placement)
                case Lane():
                    yield from self._lane(placement)
                case _:
                    assert_never(placement)

    def _invoke(self, op: StepOp | GlueOp) -> Statement:
        node = call(attribute(name(self.ops[op.name]), "alias"), literal(op.name))
        before = self.form.upstream if self.form and not inputs(op) else ()
        taken = (self._argument(op_input) for op_input in inputs(op))
        # By name: Dagster does not count inputs without a value.
        invocation = call(node, *taken, keywords={each: name(each) for each in before})
        given = (*outputs(op), *self._artifacts(op))
        if not self.used.intersection(given):
            return expression(invocation)
        for source in outputs(op):
            self.variables[source] = self.scope.claim(_variable(op, source))
        for source in self._artifacts(op):
            self.variables[source] = self.scope.claim(str(source.output))
        return assign(names_tuple([self.variables[source] for source in given]), invocation)

    def _artifacts(self, op: StepOp | GlueOp) -> Iterator[Source]:
        """The outputs of an op that stand for artifacts."""
        if self.form is not None and isinstance(op, StepOp):
            for output in self.form.outputs_of(op.step.name):
                yield Source(op.name, output)

    def _argument(self, op_input: Input) -> Expression:
        match op_input.wire:
            case One(source) | Item(source):
                return name(self.variables[source])
            case Collected(source):
                return call(attribute(name(self.variables[source]), "collect"))
            case FanIn(several):
                return list_of(name(self.variables[source]) for source in several)
            case _:
                assert_never(op_input.wire)

    def _lane(self, lane: Lane) -> Iterator[Statement]:
        """The lane's ops as a function of one item, and its mapping over the items."""
        source = self.variables[lane.source]
        each = self.scope.claim(f"each_{source.rstrip('_').removesuffix('s')}")
        inside = JobBody(self.ops, self.scope.inner(), {}, self.used, self.form)
        item = inside.scope.claim("item")
        inside.variables[lane.source] = item
        statements = [inside._invoke(op) for op in lane.ops]
        results = names_tuple([inside.variables[result] for result in lane.results])
        yield spaced(function(each, [(item, None)], [*statements, returned(results)]), 1)
        for result in lane.results:
            self.variables[result] = self.scope.claim(inside.variables[result])
        mapped = call(attribute(name(source), "map"), name(each))
        outside = names_tuple([self.variables[result] for result in lane.results])
        yield spaced(assign(outside, mapped), 1)


def _variable(op: StepOp | GlueOp, source: Source) -> str:
    match op:
        case GlueOp():
            return f"{ascii_name(op.step)}_{op.glue.suffix}"
        case StepOp(output=ForeachOutput()):
            return f"{ascii_name(op.step.name)}_items"
        case StepOp():
            plain = ascii_name(op.step.name)
            return f"{plain}_{source.output}" if source.output else plain
        case _:
            assert_never(op)
