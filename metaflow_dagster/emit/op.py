"""The op of a step, and the glue ops between steps.

@op(name="TrainFlow__fit", description=step_description(FLOW, "fit"), ...)
def op_fit(context: OpExecutionContext, load: str) -> Output[str]:
    task = run_step(FLOW, context, "fit", [load])
    return task_output(task)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from typing_extensions import assert_never

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
from metaflow_dagster.emit.form import GraphForm
from metaflow_dagster.emit.outputs import (
    glue_outputs,
    glue_type,
    result,
    return_type,
    step_outputs,
)
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.ir.flow import Literal, Pod, Retries, Step, targets
from metaflow_dagster.ir.job import (
    FanOut,
    Gather,
    GlueOp,
    Input,
    NodesOutput,
    Regroup,
    StepOp,
)

STEP_TAGS: Final = {"dagster/compute_kind": "metaflow"}
TIMEOUT_TAG: Final = "dagster/op_execution_timeout"  # shown by Dagster, but read by nobody
POD_TAG: Final = "dagster-k8s/config"  # dagster_k8s/job.py: USER_DEFINED_K8S_CONFIG_KEY
GLUE_TAGS: Final = {"dagster/compute_kind": "plumbing"}


@dataclass(frozen=True, slots=True)
class ConfigUse:
    """How a start op gets the parameters: the config class, and whether as plain values."""

    identifier: str
    raw: bool


def step_function(
    identifier: str,
    op: StepOp,
    config: ConfigUse | None,
    pool: str | None,
    publications: Sequence[Statement],
    form: GraphForm | None,
    scope: ModuleScope,
) -> Statement:
    """The op of a step; `config` if it starts a run that has parameters.

    `publications` are the statements by which Dagster learns what the task has left, `form` is that
    of a flow whose asset is a graph.
    """
    return function(
        identifier,
        list(_parameters(op, config, scope)),
        [*_run(op, config, scope), *publications, result(op, form, scope)],
        decorators=[_step_decorator(op, config, pool, form, scope)],
        returns=return_type(op, form, scope),
    )


def glue_function(
    identifier: str, op: GlueOp, form: GraphForm | None, scope: ModuleScope
) -> Statement:
    """A glue op."""
    given = op.input
    paths = name(given.name)
    match op.glue:
        case Gather():
            gathered = returned(call(scope.ref("flat"), paths))
        case FanOut():
            gathered = yielded_from(call(scope.ref("fanned_out"), paths))
        case Regroup(depth):
            gathered = yielded_from(call(scope.ref("regrouped"), paths, literal(depth)))
        case _:
            assert_never(op.glue)
    return function(
        identifier,
        [("context", scope.ref("OpExecutionContext")), (given.name, _nested(given, scope))],
        [gathered],
        decorators=[_glue_decorator(op, form, scope)],
        returns=glue_type(op, scope),
    )


def _step_decorator(
    op: StepOp,
    config: ConfigUse | None,
    pool: str | None,
    form: GraphForm | None,
    scope: ModuleScope,
) -> Expression:
    schema = None
    if config and config.raw:
        schema = call(attribute(name(config.identifier), "to_config_schema"))
    return call(
        scope.ref("op"),
        keywords={
            "name": literal(op.definition),
            "description": _description(op, scope),
            "config_schema": schema,
            "ins": _upstream_inputs(op, form, scope),
            "out": step_outputs(op, form, scope),
            "retry_policy": _retry_policy(op, scope),
            "tags": literal(_tags(op)),
            "pool": None if pool is None else literal(pool),
        },
    )


def _upstream_inputs(op: StepOp, form: GraphForm | None, scope: ModuleScope) -> Expression | None:
    """Inputs of the first op that say which assets come before, and have no value."""
    if form is None or op.inputs or not form.upstream:
        return None
    return text_dict({each: call(scope.ref("In"), scope.ref("Nothing")) for each in form.upstream})


def _description(op: StepOp, scope: ModuleScope) -> Expression:
    said = [literal(op.step.description)] if op.step.description else []
    return call(scope.ref("step_description"), scope.ref(FLOW), literal(op.step.name), *said)


def _tags(op: StepOp) -> dict[str, Literal]:
    tags: dict[str, Literal] = {**STEP_TAGS}
    if op.step.timeout is not None:
        tags[TIMEOUT_TAG] = str(op.step.timeout)
    if op.step.pod is not None:
        tags[POD_TAG] = pod_config(op.step.pod)
    return tags


def pod_config(pod: Pod) -> Literal:
    """The pod as Dagster's executors have it (dagster_k8s/job.py: UserDefinedDagsterK8sConfig)."""
    parts = {
        "container_config": pod.container,
        "pod_spec_config": pod.spec,
        "pod_template_spec_metadata": pod.metadata,
        "job_metadata": pod.metadata,
    }
    return {name: dict(part) for name, part in parts.items() if part}


def _glue_decorator(op: GlueOp, form: GraphForm | None, scope: ModuleScope) -> Expression:
    return call(
        scope.ref("op"),
        keywords={
            "name": literal(op.definition),
            "description": literal(f"Plumbing: {op.glue.purpose}."),
            "out": glue_outputs(op, form, scope),
            "tags": literal(dict(GLUE_TAGS)),
        },
    )


def _nested(op_input: Input, scope: ModuleScope) -> Expression:
    """The type of an input: a path, or lists of paths."""
    annotation: Expression = scope.builtin("str")
    for _ in range(op_input.nesting):
        annotation = subscript(scope.builtin("list"), annotation)
    return annotation


def _retry_policy(op: StepOp, scope: ModuleScope) -> Expression | None:
    retries = op.step.retries
    if not retries.most:
        return None
    delay = retries.minutes_between * 60
    most = scope.ref("MANY_RETRIES") if _is_recursive(op) else literal(retries.most)
    return call(
        scope.ref("RetryPolicy"),
        keywords={"max_retries": most, "delay": literal(delay) if delay else None},
    )


def _is_recursive(op: StepOp) -> bool:
    return op.step.name in targets(op.step.transition)


def _parameters(
    op: StepOp, config: ConfigUse | None, scope: ModuleScope
) -> Iterator[tuple[str, Expression]]:
    yield "context", scope.ref("OpExecutionContext")
    for op_input in op.inputs:
        yield op_input.name, _nested(op_input, scope)
    if config and not config.raw:
        yield "config", name(config.identifier)


def _run(op: StepOp, config: ConfigUse | None, scope: ModuleScope) -> Iterator[Statement]:
    """The statements that run the step, and leave what came out in `task`."""
    if not op.inputs:
        given = call(
            scope.ref("start_run"), scope.ref(FLOW), name("context"), _given(config, scope)
        )
        yield assign(name("parameters"), given)
    yield assign(
        name("task"),
        call(
            scope.ref(_runner(op)),
            scope.ref(FLOW),
            name("context"),
            literal(op.step.name),
            _input_paths(op, scope),
            keywords={
                "options": _options(op, scope),
                **_retry_counts(op.step.retries),
                "timeout": _timeout(op),
                "environment": _environment(op.step, scope),
            },
        ),
    )


def _runner(op: StepOp) -> str:
    """The helper that runs the tasks of the op."""
    if isinstance(op.output, NodesOutput):
        return "run_parallel_step"
    return "run_recursive_step" if _is_recursive(op) else "run_step"


def _environment(step: Step, scope: ModuleScope) -> Expression | None:
    """The variables of the step's process that differ from those of the op's."""
    variables = {variable: literal(value) for variable, value in step.environment}
    for variable in step.inherited:
        # As `os.getenv(NAME, "")` in the flow. The text is the same wherever it is compiled.
        get = attribute(scope.ref("os"), "environ", "get")
        variables[variable] = call(get, literal(variable), literal(""))
    return text_dict(variables) if variables else None


def _given(config: ConfigUse | None, scope: ModuleScope) -> Expression:
    if config is None:
        return literal({})
    if config.raw:
        values = attribute(name("context"), "op_config")
        return call(scope.ref("given_values"), name(config.identifier), values)
    return call(scope.ref("given_parameters"), name("config"))


def _input_paths(op: StepOp, scope: ModuleScope) -> Expression:
    """The paths of the tasks before, as one list."""
    match op.inputs:
        case ():
            return list_of([name("parameters")])
        case (Input(nesting=1) as op_input,):
            return name(op_input.name)
        case (Input(nesting=nesting) as op_input,) if nesting > 1:
            return call(scope.ref("flat"), name(op_input.name))
        case inputs:
            return list_of(name(op_input.name) for op_input in inputs)


def _options(op: StepOp, scope: ModuleScope) -> Expression | None:
    return call(scope.ref("foreach_options"), name("context")) if op.follows_foreach else None


def _retry_counts(retries: Retries) -> Mapping[str, Expression | None]:
    return {
        "user_retries": literal(retries.user_code) if retries.user_code else None,
        "error_retries": literal(retries.error) if retries.error else None,
    }


def _timeout(op: StepOp) -> Expression | None:
    """The seconds after which the op may stop the process.

    Where decorators run the step elsewhere, its time does not begin when its process is started.
    """
    return None if op.step.timeout is None or op.step.hooks else literal(op.step.timeout)
