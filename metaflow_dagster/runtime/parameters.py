"""The flow's parameters, from Dagster's config to Metaflow's `init`."""

import json
from collections.abc import Mapping
from typing import Any

from dagster import Config

from metaflow_dagster.runtime.command import unfit
from metaflow_dagster.runtime.failures import final_failure


def given_parameters(config: Config) -> dict[str, Any]:
    """The flow's parameters by their own names, without those left to Metaflow's default."""
    fields = type(config).model_fields.items()
    values = {field.alias or name: getattr(config, name) for name, field in fields}
    return given_values(type(config), values)


def given_values(config_class: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by parameter, without those left to Metaflow's default."""
    fields = config_class.model_fields.items()
    left_to_metaflow = {field.alias or name for name, field in fields if field.default is None}
    return {
        name: value
        for name, value in values.items()
        if value is not None or name not in left_to_metaflow
    }


def parameter_variables(values: Mapping[str, Any]) -> dict[str, str]:
    """The environment that gives parameters to `init`; `Failure` names one that it cannot give."""
    texts = {name: parameter_text(value) for name, value in values.items()}
    for name, text in texts.items():
        if problem := unfit(text):
            reason = f"Parameter {name} cannot be given to the run: {problem}."
            raise final_failure(f"{reason} Give it another value.")
    return {parameter_variable(name): text for name, text in texts.items()}


def parameter_variable(name: str) -> str:
    """The environment variable in which `init` expects a parameter."""
    return "METAFLOW_INIT_" + name.replace("-", "_").lower().upper()


def parameter_text(value: object) -> str:
    """A parameter's value as one would write it on Metaflow's command line."""
    return value if isinstance(value, str) else json.dumps(value)
