"""The graph-backed form of a job: a graph, the assets that it is, and the job of these.

@graph(name="TrainFlow_steps", config=start_config("op_start", TrainFlowConfig), out=GraphOut())
def TrainFlow_steps():
    start = op_start.alias("op_start")()
    return op_end.alias("op_end")(start)

TrainFlow_asset = flow_asset(FLOW, TrainFlow_steps, ...)

TrainFlow = define_asset_job(name="TrainFlow", selection=..., executor_def=threads_executor(...))
"""

from __future__ import annotations

from collections.abc import Mapping

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
    text_dict,
)
from metaflow_dagster.emit.form import GraphForm
from metaflow_dagster.emit.job import JobBody, executor_of, job_tags, used_outputs
from metaflow_dagster.emit.outputs import RESULT
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.ir.flow import End
from metaflow_dagster.ir.job import JobPlan, Source
from metaflow_dagster.names import Scope
from metaflow_dagster.options import Options, automation_of


def graph_function(
    identifier: str,
    plan: JobPlan,
    op_identifiers: Mapping[str, str],
    config: str | None,
    form: GraphForm,
    scope: ModuleScope,
) -> Statement:
    """The graph; `config` is the class of the flow's parameters, if it has any."""
    results = _results(plan, form)
    used = used_outputs(plan) | {*results.values()}
    taken = Scope([*op_identifiers.values(), *form.upstream])
    body = JobBody(op_identifiers, taken, {}, used, form)
    statements = [*body.statements(plan)]
    gives = {output: name(body.variables[source]) for output, source in results.items()}
    given = gives[RESULT] if len(gives) == 1 else text_dict(gives)
    return function(
        identifier,
        [(each, None) for each in form.upstream],
        [*statements, returned(given)],
        decorators=[_decorator(plan, config, results, form, scope)],
    )


def _results(plan: JobPlan, form: GraphForm) -> Mapping[str, Source]:
    """The outputs of ops that are those of the graph: of the last op, and of artifacts."""
    artifacts = {
        output: Source(op.name, output)
        for op in plan.step_ops()
        for output in form.outputs_of(op.step.name)
    }
    (end,) = (op for op in plan.step_ops() if isinstance(op.step.transition, End))
    return {RESULT: Source(end.name), **artifacts}


def _decorator(
    plan: JobPlan,
    config: str | None,
    results: Mapping[str, Source],
    form: GraphForm,
    scope: ModuleScope,
) -> Expression:
    outs = {each: call(scope.ref("GraphOut")) for each in results}
    ins = {each: call(scope.ref("GraphIn")) for each in form.upstream}
    (start,) = (op for op in plan.step_ops() if not op.inputs)
    mapping = None
    if config is not None:
        mapping = call(scope.ref("start_config"), literal(start.name), name(config))
    return call(
        scope.ref("graph"),
        keywords={
            "name": literal(form.graph),
            "description": call(scope.ref("flow_description"), scope.ref(FLOW)),
            "ins": text_dict(ins) if ins else None,
            "out": outs[RESULT] if len(outs) == 1 else text_dict(outs),
            "config": mapping,
        },
    )


def asset_statement(
    identifier: str,
    graph: str,
    plan: JobPlan,
    form: GraphForm,
    common: Mapping[str, Expression],
    options: Options,
    scope: ModuleScope,
) -> Statement:
    """The assets that the graph is; `common` is what they are all said to be."""
    artifacts = {
        output: list_of(map(literal, asset.key))
        for op in plan.step_ops()
        for output, asset in form.outputs_of(op.step.name).items()
    }
    upstream = {each: list_of(map(literal, key)) for each, key in form.upstream.items()}
    return assign(
        name(identifier),
        call(
            scope.ref("flow_asset"),
            scope.ref(FLOW),
            name(graph),
            keywords={
                "io_manager": literal(form.io_manager),
                "upstream": text_dict(upstream),
                "artifacts": text_dict(artifacts),
                **common,
                "automation_condition": _condition(options, scope),
            },
        ),
    )


def _condition(options: Options, scope: ModuleScope) -> Expression | None:
    condition = automation_of(options.automation) if options.automation is not None else None
    if condition is None:
        return None
    method, cron = condition
    made = attribute(scope.ref("AutomationCondition"), method)
    return call(made, *([] if cron is None else [literal(cron)]))


def asset_job(
    identifier: str,
    asset: str,
    plan: JobPlan,
    options: Options,
    scope: ModuleScope,
) -> Statement:
    """The job that materializes the assets; their checks are made by the ops."""
    selection = call(attribute(scope.ref("AssetSelection"), "assets"), name(asset))
    return assign(
        name(identifier),
        call(
            scope.ref("define_asset_job"),
            keywords={
                "name": literal(plan.name),
                "selection": call(attribute(selection, "without_checks")),
                "description": call(scope.ref("flow_description"), scope.ref(FLOW)),
                "tags": literal(job_tags(plan, options)),
                "metadata": text_dict(
                    {"code": call(scope.ref("code_references"), scope.ref(FLOW))}
                ),
                "executor_def": executor_of(plan.flow, options, scope),
            },
        ),
    )
