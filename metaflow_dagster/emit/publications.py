"""The assets that an op materializes, and the checks of what its task has left.

publish_artifacts(FLOW, context, task, {"model": ["ml", "model"]})
check_artifacts(FLOW, context, task, TrainFlow_checks)
publish_end(FLOW, context, task)
"""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    assign,
    call,
    expression,
    list_of,
    literal,
    name,
    yielded_from,
)
from metaflow_dagster.emit.form import GraphForm
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.ir.assets import (
    ArtifactCheck,
    Check,
    CheckFunction,
    Comparison,
    IsNone,
    IsTrue,
)
from metaflow_dagster.ir.flow import (
    End,
    Flow,
    Literal,
    Step,
)


def checks_name(job: str) -> str:
    """The name of the checks in the file of a job."""
    return "_".join([job, "checks"])


def publications(
    step: Step, flow: Flow, checks: str | None, form: GraphForm | None, scope: ModuleScope
) -> Iterator[Statement]:
    """The statements of a step's op; `checks` is the variable that holds the flow's checks.

    In the graph-backed form, outputs are what materializes assets.
    """
    yield from _artifacts(step, flow, scope) if form is None else _outputs(step, form, scope)
    if checks is not None and any(check.step == step.name for check in flow.checks):
        yield _told("check_artifacts", scope, name(checks))
    if form is None and isinstance(step.transition, End):
        yield _told("publish_end", scope)


def _artifacts(step: Step, flow: Flow, scope: ModuleScope) -> Iterator[Statement]:
    if own := _own_artifacts(step, flow):
        yield _told("publish_artifacts", scope, literal(own))
    for asset in flow.assets:
        if asset.join == step.name:
            arguments = [literal(asset.step), literal(asset.artifact), literal(list(asset.key))]
            yield _told("publish_items", scope, *arguments)


def _outputs(step: Step, form: GraphForm, scope: ModuleScope) -> Iterator[Statement]:
    own: dict[str, Literal] = {}
    for output, asset in form.outputs_of(step.name).items():
        if asset.join is None:
            own[output] = asset.artifact
        else:
            items = (literal(output), literal(asset.step), literal(asset.artifact))
            yield yielded_from(_call("items_output", scope, *items))
    if own:
        yield yielded_from(_call("artifact_outputs", scope, literal(own)))


def checks_statement(identifier: str, flow: Flow, scope: ModuleScope) -> Statement:
    """The checks of a flow that has some."""
    return assign(name(identifier), list_of(_check(each, flow, scope) for each in flow.checks))


def _own_artifacts(step: Step, flow: Flow) -> dict[str, Literal]:
    return {
        asset.artifact: list(asset.key)
        for asset in flow.assets
        if asset.step == step.name and asset.join is None
    }


def _told(helper: str, scope: ModuleScope, *arguments: Expression) -> Statement:
    return expression(_call(helper, scope, *arguments))


def _call(helper: str, scope: ModuleScope, *arguments: Expression) -> Expression:
    return call(scope.ref(helper), scope.ref(FLOW), name("context"), name("task"), *arguments)


def _check(check: Check, flow: Flow, scope: ModuleScope) -> Expression:
    asset: list[Literal] = [*flow.checked_asset(check)]
    given = [literal(check.name), literal(asset), literal(check.step)]
    flags = {
        "only_warns": literal(True) if check.only_warns else None,
        "blocking": literal(True) if check.blocking else None,
    }
    match check:
        case ArtifactCheck(artifact=artifact, condition=condition):
            given += [literal(artifact), *map(literal, _condition(condition))]
            return call(scope.ref("ArtifactCheck"), *given, keywords=flags)
        case CheckFunction(module=module, function=function):
            given.append(scope.imported(module, function))
            return call(scope.ref("CheckFunction"), *given, keywords=flags)
        case _:
            assert_never(check)


def _condition(condition: Comparison | IsNone | IsTrue) -> tuple[Literal, Literal]:
    """An operator, and what an artifact is compared with."""
    match condition:
        case Comparison(operator, value):
            return operator, value
        case IsNone(wanted):
            return ("is" if wanted else "is not"), None
        case IsTrue(wanted):
            return "is", wanted
        case _:
            assert_never(condition)
