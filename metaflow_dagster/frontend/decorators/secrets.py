"""`@secrets`, which fetches credentials where the step runs."""

from metaflow_dagster.frontend.decorators.handling import StepHandling

HANDLING = StepHandling("secrets", tell=lambda _: "fetched by Metaflow, in the step")
