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
)
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
    return f"{job}_checks"


def publications(
    step: Step, flow: Flow, checks: str | None, scope: ModuleScope
) -> Iterator[Statement]:
    """The statements of a step's op; `checks` is the variable that holds the flow's checks."""
    if own := _own_artifacts(step, flow):
        yield _told("publish_artifacts", scope, literal(own))
    for asset in flow.assets:
        if asset.join == step.name:
            arguments = [literal(asset.step), literal(asset.artifact), literal(list(asset.key))]
            yield _told("publish_items", scope, *arguments)
    if checks is not None and any(check.step == step.name for check in flow.checks):
        yield _told("check_artifacts", scope, name(checks))
    if isinstance(step.transition, End):
        yield _told("publish_end", scope)


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
    given = (scope.ref(FLOW), name("context"), name("task"), *arguments)
    return expression(call(scope.ref(helper), *given))


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
