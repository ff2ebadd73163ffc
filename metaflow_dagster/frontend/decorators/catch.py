"""`@catch`, whose number of attempts is read as that of any decorator."""

from metaflow_dagster.frontend.decorators.handling import StepHandling

HANDLING = StepHandling("catch", tell=lambda _: "Metaflow's, in the step")
