"""`@environment`, whose variables have to be set before the step's process starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from metaflow.plugins.environment_decorator import EnvironmentDecorator

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import is_secret_variable
from metaflow_dagster.frontend.decorators.handling import (
    StepHandling,
    at_step,
    decorators_named,
)
from metaflow_dagster.frontend.protocols import Node, StepDecorator
from metaflow_dagster.frontend.texts import LONGEST_VARIABLE, fits_environment, short
from metaflow_dagster.ir.flow import Step

# The texts of a variable that is not set, by `os.getenv(NAME, "")` and `os.getenv(NAME)`.
_OF_NO_VARIABLE = ("", "None")


def check(node: Node) -> Iterator[Diagnostic]:
    """Refuse variables that no process can have, and those that would give away a credential."""
    dictionaries = [
        decorator.attributes["vars"] for decorator in decorators_named("environment", node)
    ]
    if not all(isinstance(variables, Mapping) for variables in dictionaries):
        yield at_step(
            node,
            "The vars of @environment are no dictionary.",
            """On the command line they are JSON: --with 'environment:vars={"NAME": "value"}'.""",
        )
        return
    for variable, value in chain.from_iterable(variables.items() for variables in dictionaries):
        if not _is_variable(variable, str(value)):
            yield at_step(
                node,
                f"@environment: {short(variable)}={short(value)} cannot be given to a process.",
                "Names are texts without `=`, and neither names nor values have a NUL in them or "
                f"are longer than {LONGEST_VARIABLE} bytes.",
            )
            return
    for decorator, variable, value in _variables(node):
        if is_secret_variable(variable, value) and not _is_passed_on(decorator, variable, value):
            yield at_step(
                node,
                f"@environment sets {variable}, which looks like a credential; its value would "
                "stand in the generated file.",
                "Set it in the environment where Dagster runs the steps, and let its value here be "
                f"os.getenv({variable!r}, ''), or use @secrets.",
            )


def _is_variable(name: object, value: str) -> bool:
    if not isinstance(name, str) or not name or "=" in name:
        return False
    return fits_environment(name + value)


def read(node: Node, step: Step) -> Step:
    """The step with its variables, and the names of the credentials that are only passed on."""
    passed_on = {name for deco, name, value in _variables(node) if _is_passed_on(deco, name, value)}
    variables = [(name, value) for _, name, value in _variables(node)]
    return replace(
        step,
        environment=tuple((name, value) for name, value in variables if name not in passed_on),
        inherited=tuple(name for name, _ in variables if name in passed_on),
    )


def _variables(node: Node) -> Iterator[tuple[StepDecorator, str, str]]:
    for decorator in decorators_named("environment", node):
        for variable, value in sorted(decorator.attributes["vars"].items()):
            yield decorator, str(variable), str(value)


def _is_passed_on(decorator: StepDecorator, variable: str, value: str) -> bool:
    """Whether a credential is what this process has of that name, as of `os.getenv` in the flow.

    What a command gives by `--with` stands in the file as it was given.
    """
    if not is_secret_variable(variable, value):
        return False
    if not decorator.statically_defined and decorator.inserted_by is None:
        return False
    held = os.environ.get(variable)
    return value in _OF_NO_VARIABLE if held is None else value == held


HANDLING = StepHandling(
    "environment",
    tell=lambda _: "set before the step's process starts",
    check=check,
    read=read,
    hooks_replaced=EnvironmentDecorator,
)
