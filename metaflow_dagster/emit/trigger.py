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
from metaflow_dagster.emit.form import GraphForm
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
    partitions: str | None,
    form: GraphForm | None,
    scope: ModuleScope,
) -> Statement:
    """The sensor of a trigger.

    `config` is the class of the flow's parameters, if it has any, `partitions` the variable that
    holds the partitions of the runs.
    """
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
    chosen = _event_partitions(plan, partitions, scope)
    node = form.graph if form else next(op.name for op in plan.step_ops() if not op.inputs)
    start = _start_config(node, trigger, config, chosen, scope)
    arguments = [name("context"), name("trigger"), *start]
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
    node: str,
    trigger: Trigger,
    config: str | None,
    partitions: Expression | None,
    scope: ModuleScope,
) -> list[Expression]:
    """Where that goes which the events give to a run, if they do: the config of a node."""
    has_values = config is not None and any(event.parameters for event in trigger.events)
    if not has_values and partitions is None:
        return []
    fields = literal(None) if config is None else name(config)
    return [
        call(
            scope.ref("StartConfig"),
            literal(node),
            fields,
            keywords={"partitions": partitions},
        )
    ]


def _event_partitions(
    plan: JobPlan, partitions: str | None, scope: ModuleScope
) -> Expression | None:
    """The partitions that events choose of, with the parameters that are their keys."""
    if partitions is None:
        return None
    names = [literal(dimension.parameter) for dimension in plan.flow.dimensions]
    return call(scope.ref("EventPartitions"), name(partitions), *names)
