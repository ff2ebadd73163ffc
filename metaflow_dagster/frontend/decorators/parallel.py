"""`@parallel`, which is a matter of the flow's graph, and not of how a process is started."""

from metaflow.plugins.parallel_decorator import ParallelDecorator

from metaflow_dagster.frontend.decorators.handling import StepHandling

HANDLING = StepHandling(
    "parallel",
    tell=lambda _: "one op, whose step starts the other nodes",
    hooks_replaced=ParallelDecorator,
)
