"""The sensors that tell a webhook how runs of a job have ended.

@run_failure_sensor(name="TrainFlow_notify_on_error", monitored_jobs=[TrainFlow], ...)
def TrainFlow_notify_on_error(context: RunFailureSensorContext) -> None:
    notify_of_failure(FLOW, context)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from typing_extensions import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    attribute,
    call,
    expression,
    function,
    list_of,
    literal,
    name,
)
from metaflow_dagster.emit.scope import FLOW, ModuleScope
from metaflow_dagster.ir.job import JobPlan
from metaflow_dagster.options import Options


class Notice(Enum):
    """An end of runs of which somebody wants to be told."""

    ERROR = "error"
    SUCCESS = "success"


# What a run has done, decorator, type of the context, helper.
_WITH: Final[Mapping[Notice, tuple[str, str, str, str]]] = {
    Notice.ERROR: ("failed", "run_failure_sensor", "RunFailureSensorContext", "notify_of_failure"),
    Notice.SUCCESS: (
        "succeeded",
        "run_status_sensor",
        "RunStatusSensorContext",
        "notify_of_success",
    ),
}


def notices(options: Options) -> Iterator[Notice]:
    """The ends of runs of which somebody wants to be told."""
    if options.notify_on_error:
        yield Notice.ERROR
    if options.notify_on_success:
        yield Notice.SUCCESS


def notice_name(job: str, notice: Notice) -> str:
    """The name of the sensor that sends a notice when a run has ended, after the option."""
    return f"{job}_notify_on_{notice.value}"


def notice_function(
    identifier: str, job: str, plan: JobPlan, notice: Notice, scope: ModuleScope
) -> Statement:
    """The sensor that tells a webhook how runs of the job have ended."""
    ending, sensor, context, notify = _WITH[notice]
    decorator = call(
        scope.ref(sensor),
        keywords={
            "name": literal(notice_name(plan.name, notice)),
            "description": literal(f"Tells a webhook when a run of {plan.flow.name} has {ending}."),
            "run_status": _status(notice, scope),
            "monitored_jobs": list_of([name(job)]),
            "minimum_interval_seconds": scope.ref("SENSOR_INTERVAL"),
            "default_status": attribute(scope.ref("DefaultSensorStatus"), "RUNNING"),
        },
    )
    return function(
        identifier,
        [("context", scope.ref(context))],
        [expression(call(scope.ref(notify), scope.ref(FLOW), name("context")))],
        decorators=[decorator],
        returns=literal(None),
    )


def _status(notice: Notice, scope: ModuleScope) -> Expression | None:
    """The status that the sensor waits for, where its decorator does not say so."""
    match notice:
        case Notice.ERROR:
            return None
        case Notice.SUCCESS:
            return attribute(scope.ref("DagsterRunStatus"), "SUCCESS")
        case _:
            assert_never(notice)
