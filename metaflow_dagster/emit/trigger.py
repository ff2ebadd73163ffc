"""The sensors that start runs of a job.

@sensor(name="TrainFlow_trigger", job=TrainFlow, ...)
def TrainFlow_trigger(context: SensorEvaluationContext) -> SensorResult:
    trigger = Trigger("event", {"orders": {"size": "n_orders"}})
    return triggered_runs(context, trigger, StartConfig("op_start", TrainFlowConfig))
"""

from __future__ import annotations

from typing import Final

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
from metaflow_dagster.ir.flow import Literal, Trigger, TriggerKind
from metaflow_dagster.ir.job import JobPlan

_SUFFIXES: Final = {TriggerKind.EVENT: "trigger", TriggerKind.RUN: "trigger_on_finish"}


def trigger_name(job: str, trigger: Trigger) -> str:
    """The name of the sensor for a trigger of a job, after Metaflow's decorator."""
    return f"{job}_{_SUFFIXES[trigger.kind]}"


def trigger_function(
    identifier: str,
    job: str,
    plan: JobPlan,
    trigger: Trigger,
    config: str | None,
    scope: ModuleScope,
) -> Statement:
    """The sensor of a trigger; `config` is the class of the flow's parameters, if it has any."""
    decorator = call(
        scope.ref("sensor"),
        keywords={
            "name": literal(trigger_name(plan.name, trigger)),
            "description": literal(f"Runs {plan.flow.name} {trigger}."),
            "job": name(job),
            "minimum_interval_seconds": scope.ref("SENSOR_INTERVAL"),
            "default_status": attribute(scope.ref("DefaultSensorStatus"), "RUNNING"),
        },
    )
    arguments = [name("context"), name("trigger"), *_start_config(plan, trigger, config, scope)]
    return function(
        identifier,
        [("context", scope.ref("SensorEvaluationContext"))],
        [
            assign(name("trigger"), _trigger(trigger, scope)),
            returned(call(scope.ref("triggered_runs"), *arguments)),
        ],
        decorators=[decorator],
        returns=scope.ref("SensorResult"),
    )


def _trigger(trigger: Trigger, scope: ModuleScope) -> Expression:
    events: dict[str, Literal] = {event.name: dict(event.parameters) for event in trigger.events}
    reset = trigger.reset_at
    return call(
        scope.ref("Trigger"),
        literal(trigger.kind.value),
        literal(events),
        keywords={
            "reset_cron": literal(reset.cron) if reset else None,
            "reset_timezone": literal(reset.timezone) if reset and reset.timezone else None,
        },
    )


def _start_config(
    plan: JobPlan, trigger: Trigger, config: str | None, scope: ModuleScope
) -> list[Expression]:
    """Where the parameters go that the events give a value to, if they do."""
    if config is None or not any(event.parameters for event in trigger.events):
        return []
    start = next(op for op in plan.step_ops() if not op.inputs)
    return [call(scope.ref("StartConfig"), literal(start.name), name(config))]
