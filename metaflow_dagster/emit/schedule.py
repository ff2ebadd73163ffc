"""The schedule of a job.

TrainFlow_schedule = ScheduleDefinition(
    name="TrainFlow_schedule",
    job=TrainFlow,
    cron_schedule="0 6 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
)
"""

from __future__ import annotations

from metaflow_dagster.emit.build import Statement, assign, attribute, call, literal, name
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.ir.flow import Schedule
from metaflow_dagster.ir.job import JobPlan


def schedule_name(job: str) -> str:
    """The name of a job's schedule."""
    return f"{job}_schedule"


def schedule_definition(
    identifier: str, job: str, plan: JobPlan, schedule: Schedule, scope: ModuleScope
) -> Statement:
    """The schedule; it is on unless somebody turns it off, as whoever deploys it expects."""
    timezone = schedule.timezone
    definition = call(
        scope.ref("ScheduleDefinition"),
        keywords={
            "name": literal(schedule_name(plan.name)),
            "job": name(job),
            "cron_schedule": literal(schedule.cron),
            "execution_timezone": None if timezone is None else literal(timezone),
            "default_status": attribute(scope.ref("DefaultScheduleStatus"), "RUNNING"),
        },
    )
    return assign(name(identifier), definition)
