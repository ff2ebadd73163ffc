"""Hand-made flows, and generated modules of them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dagster import Definitions

from metaflow_dagster.emit import emit_module
from metaflow_dagster.emit.place import Place
from metaflow_dagster.ir.flow import End, Flow, Linear, Location, Step, Transition, targets
from metaflow_dagster.ir.job import JobPlan
from metaflow_dagster.options import Options
from metaflow_dagster.planner import check_plan, plan_job
from metaflow_dagster.runtime.settings import FlowSettings

FLOW_FILE = "/project/flows/my_flow.py"
PLACE = Place(Path("/project/my_flow_dagster.py"), Path("/project"))

NO_OPTIONS = Options()

_SERIAL = itertools.count()


def flow_of(
    transitions: Mapping[str, Transition],
    joins: Mapping[str, str] | None = None,
    name: str = "MyFlow",
    **others: Any,
) -> Flow:
    """A flow whose steps, in topological order, have these transitions and close these splits."""
    steps = tuple(
        Step(
            name=name,
            transition=transition,
            parents=tuple(
                parent
                for parent, way in transitions.items()
                if name in targets(way) and parent != name
            ),
            location=Location(FLOW_FILE, line),
            joins=(joins or {}).get(name),
        )
        for line, (name, transition) in enumerate(transitions.items(), 1)
    )
    return Flow(name=name, file=FLOW_FILE, steps=steps, **others)


def linear_flow(name: str = "MyFlow", **others: Any) -> Flow:
    """start ─▶ end"""
    return flow_of({"start": Linear("end"), "end": End()}, name=name, **others)


def settings_of(**others: Any) -> FlowSettings:
    """The settings of a flow at `FLOW_FILE`, as a generated file has them."""
    usual: dict[str, Any] = {
        "name": "MyFlow",
        "file": FLOW_FILE,
        "here": "/project",
        "end_event": "metaflow.MyFlow.end",
        "next_steps": {},
    }
    return FlowSettings(**{**usual, **others})


def planned(flow: Flow, job_name: str | None = None) -> JobPlan:
    """The plan of a flow, proven."""
    plan = plan_job(flow, job_name or flow.name)
    check_plan(plan)
    return plan


def emitted(flow: Flow, options: Options = NO_OPTIONS, place: Place = PLACE) -> str:
    """The text of the definitions file of a flow."""
    return emit_module(planned(flow, options.name), options, place)


def loaded(text: str, file: str | Path = "/project/my_flow_dagster.py") -> ModuleType:
    """The module that the text defines."""
    module = ModuleType(f"generated_{next(_SERIAL)}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    exec(compile(text, str(file), "exec", dont_inherit=True), module.__dict__)
    return module


def definitions_of(module: ModuleType) -> Definitions:
    """The definitions of a generated module, whatever they are called."""
    (definitions,) = [value for value in vars(module).values() if isinstance(value, Definitions)]
    return definitions


def job_of(module: ModuleType) -> Any:
    """The only job of a generated module."""
    (job,) = definitions_of(module).jobs
    return job
