"""The schedule of a job.

TrainFlow_schedule = ScheduleDefinition(
    name="TrainFlow_schedule",
    job=TrainFlow,
    cron_schedule="0 6 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
)

Of a job whose runs have partitions, it is a function that chooses those of its runs:

@schedule(name="TrainFlow_schedule", job=TrainFlow, cron_schedule="0 6 * * *", ...)
def TrainFlow_schedule(context: ScheduleEvaluationContext) -> ScheduledRuns:
    return scheduled_partitions(context, TrainFlow_partitions, "0 6 * * *", "UTC")
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
    literal,
    name,
    returned,
)
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.ir.flow import Schedule
from metaflow_dagster.ir.job import JobPlan


def schedule_name(job: str) -> str:
    """The name of a job's schedule."""
    return f"{job}_schedule"


def schedule_of(
    identifier: str,
    job: str,
    plan: JobPlan,
    schedule: Schedule,
    partitions: str | None,
    scope: ModuleScope,
) -> Statement:
    """The schedule; it is on unless somebody turns it off, as whoever deploys it expects.

    `partitions` is the variable that holds the partitions of the runs, if they have some.
    """
    keywords = _keywords(job, plan, schedule, scope)
    if partitions is None:
        return assign(name(identifier), call(scope.ref("ScheduleDefinition"), keywords=keywords))
    times = [literal(schedule.cron), literal(schedule.timezone or "UTC")]
    requests = call(scope.ref("scheduled_partitions"), name("context"), name(partitions), *times)
    return function(
        identifier,
        [("context", scope.ref("ScheduleEvaluationContext"))],
        [returned(requests)],
        decorators=[call(scope.ref("schedule"), keywords=keywords)],
        returns=scope.ref("ScheduledRuns"),
    )


def _keywords(
    job: str, plan: JobPlan, schedule: Schedule, scope: ModuleScope
) -> Mapping[str, Expression | None]:
    timezone = schedule.timezone
    return {
        "name": literal(schedule_name(plan.name)),
        "job": name(job),
        "cron_schedule": literal(schedule.cron),
        "execution_timezone": None if timezone is None else literal(timezone),
        "default_status": attribute(scope.ref("DefaultScheduleStatus"), "RUNNING"),
    }
