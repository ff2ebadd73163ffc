"""Checks of what steps have left, as Dagster shows them for assets."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    OpExecutionContext,
    multi_asset_check,
)

from metaflow_dagster.runtime.artifacts import NoValue, plain_value, task_result, value_metadata
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.history import stored_attempt
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import next_attempt
from metaflow_dagster.runtime.tasks import FinishedTask, Task, parse_task, repeatable_id

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "is": operator.is_,
    "is not": operator.is_not,
}


@dataclass(frozen=True)
class Verdict:
    """What has come of a check: whether it has passed, why, and what Dagster shows of it."""

    passed: bool
    reason: str
    metadata: Mapping[str, Any]


class Check(Protocol):
    """A check of a step's task, for an asset."""

    name: str
    asset: Sequence[str]
    step: str
    only_warns: bool
    blocking: bool

    def description(self) -> str:
        """The check in words."""

    def verdict(self, flow: FlowSettings, task: Task, datastore: Any) -> Verdict:
        """What comes of the check for a task that has succeeded."""


@dataclass(frozen=True)
class ArtifactCheck:
    """A check that compares an artifact of a step's task with a value."""

    name: str
    asset: Sequence[str]
    step: str
    artifact: str
    operator: str
    value: Any
    only_warns: bool = False
    blocking: bool = False

    def description(self) -> str:
        """The check in words."""
        return f"{self.step}.{self.artifact} {self.operator} {self.value!r}"

    def verdict(self, flow: FlowSettings, task: Task, datastore: Any) -> Verdict:
        """What comes of the check for a task that has succeeded."""
        try:
            value = plain_value(datastore, self.artifact)
            passed = bool(OPERATORS[self.operator](value, self.value))
        except (NoValue, TypeError) as error:
            return Verdict(self.is_not_none(datastore), str(error), {})
        shown = {self.artifact: value_metadata(value)}
        return Verdict(passed, f"{self.artifact} is {value!r}", shown)

    def is_not_none(self, datastore: Any) -> bool:
        """Whether this asks for something that is not None, as whatever is not loaded is."""
        wanted = (self.operator, self.value) == ("is not", None)
        return wanted and self.artifact in datastore


@dataclass(frozen=True)
class CheckFunction:
    """A check by a function, which gets the pathspec of a step's task.

    It returns whether the check has passed, or a pair of that and metadata for Dagster.
    """

    name: str
    asset: Sequence[str]
    step: str
    function: Callable[[str], Any]
    only_warns: bool = False
    blocking: bool = False

    def description(self) -> str:
        """The check in words."""
        return (self.function.__doc__ or self.function.__name__).strip()

    def verdict(self, flow: FlowSettings, task: Task, datastore: Any) -> Verdict:
        """What comes of the check for a task that has succeeded."""
        try:
            result = self.function(f"{flow.name}/{task}")
        except Exception as error:  # it is somebody else's, and a check that fails
            return Verdict(False, f"{type(error).__name__}: {error}", {})
        passed, metadata = result if isinstance(result, tuple) else (result, {})
        return Verdict(bool(passed), f"{self.function.__name__} returned {passed}", metadata)


def check_artifacts(
    flow: FlowSettings,
    context: OpExecutionContext,
    task: FinishedTask,
    checks: Sequence[Check],
) -> None:
    """Record what comes of the checks of a task; `Failure` if one that blocks has failed."""
    path, datastore = parse_task(task.path), task_result(flow, task)
    cards = flow.cards.links(flow, path) if flow.cards else {}
    failed = []
    for check in checks:
        if check.step == path.step:
            verdict = check.verdict(flow, path, datastore)
            # Its types say nothing of checks, which it takes.
            event: Any = evaluation(flow, check, verdict, path, cards)
            context.log_event(event)
            if check.blocking and not check.only_warns and not verdict.passed:
                failed.append(f"{check.description()} ({verdict.reason})")
    if failed:
        raise final_failure(
            f"The run does not go on after step {path.step}: {'; '.join(failed)}. Once that is "
            f"mended, resume the run from there: dagster resume --run-id {path.run_id} "
            f"--step {path.step}"
        )


def evaluation(
    flow: FlowSettings,
    check: Check,
    verdict: Verdict,
    task: Task,
    cards: Mapping[str, Any],
) -> AssetCheckEvaluation:
    """What Dagster keeps of a check."""
    return AssetCheckEvaluation(
        asset_key=AssetKey(list(check.asset)),
        check_name=check.name,
        passed=verdict.passed,
        metadata=shown_metadata(flow, verdict, task, cards),
        severity=severity(check),
        description=verdict.reason,
    )


def shown_metadata(
    flow: FlowSettings, verdict: Verdict, task: Task, cards: Mapping[str, Any]
) -> dict[str, Any]:
    """What Dagster shows of a check."""
    return {**verdict.metadata, "pathspec": f"{flow.name}/{task}", **cards}


def severity(check: Check) -> AssetCheckSeverity:
    """How bad it is if a check fails."""
    return AssetCheckSeverity.WARN if check.only_warns else AssetCheckSeverity.ERROR


def checks_definitions(
    flow: FlowSettings, checks: Sequence[Check]
) -> Sequence[AssetChecksDefinition]:
    """The checks for Dagster, which can make each again of the latest run."""
    return [check_definition(flow, check) for check in checks]


def check_definition(flow: FlowSettings, check: Check) -> AssetChecksDefinition:
    """A check that Dagster can make again: of the run that has materialized the asset last."""
    spec = AssetCheckSpec(
        check.name,
        asset=AssetKey(list(check.asset)),
        description=check.description(),
        blocking=check.blocking,
    )

    @multi_asset_check(name=f"{flow.job_name}__{check.name}", specs=[spec])
    def check_again(context: AssetCheckExecutionContext) -> Any:
        task = latest_task(flow, context, check)
        verdict = Verdict(False, f"Step {check.step} has not succeeded yet", {})
        metadata: dict[str, Any] = {}
        if task is not None:
            datastore = stored_attempt(flow, task, next_attempt(flow, task) - 1)
            verdict = check.verdict(flow, task, datastore)
            metadata = shown_metadata(flow, verdict, task, {})
        return AssetCheckResult(
            passed=verdict.passed,
            metadata=metadata,
            severity=severity(check),
            description=verdict.reason,
        )

    return check_again


def latest_task(flow: FlowSettings, context: Any, check: Check) -> Task | None:
    """The task of a check's step in the run that has materialized its asset last."""
    event = context.instance.get_latest_materialization_event(AssetKey(list(check.asset)))
    materialization = event.asset_materialization if event else None
    if materialization is None:
        return None
    pathspec = str(materialization.metadata["pathspec"].value)
    run_id = pathspec.split("/")[1]
    task = Task(run_id, check.step, repeatable_id(check.step, None))
    return task if next_attempt(flow, task) else None
