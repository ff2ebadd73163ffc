"""`@illustrated` attaches a card, once a process, as decorators of some extensions do."""

from __future__ import annotations

from metaflow.decorators import StepDecorator, _attach_decorators_to_step


class IllustratedDecorator(StepDecorator):
    name = "illustrated"
    has_card = False  # of the class

    def step_init(self, flow, graph, step, decos, environment, flow_datastore, logger):
        if not IllustratedDecorator.has_card:
            IllustratedDecorator.has_card = True
            _attach_decorators_to_step(getattr(flow, step), ["card"])
