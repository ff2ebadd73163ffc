"""The values of a flow's Configs, which are settled when the flow is compiled.

Metaflow's own runtime hands them to the steps in a file (dump_config_values of
metaflow/user_configs/config_parameters.py); a generated file holds them and does the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metaflow.user_configs.config_parameters import dump_config_values

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import secret_entries
from metaflow_dagster.frontend.json_values import as_json
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.ir.flow import Config


def check_configs(flow: FlowObject) -> Iterator[Diagnostic]:
    """Configs whose values cannot stand in a file."""
    for name, (value, _) in _values(flow).items():
        try:
            as_json(value)
        except ValueError as error:
            yield Diagnostic(
                f"The value of Config {name} is not JSON that a file can hold: {error}.",
                "Let its parser return dicts, lists, strings, numbers, booleans and None only.",
            )
            continue
        for path in secret_entries(name, value):
            yield Diagnostic(
                f"Config {path} looks like a credential; its value would stand in the generated "
                "file.",
                "Keep it out of the Config; use @secrets, or the environment of the steps.",
            )


def read_configs(flow: FlowObject) -> Iterator[Config]:
    """The Configs, by name."""
    for name, (value, is_plain) in sorted(_values(flow).items()):
        yield Config(name, as_json(value), is_plain)


def _values(flow: FlowObject) -> Mapping[str, tuple[Any, bool]]:
    values: Mapping[str, tuple[Any, bool]] = dump_config_values(flow).get("user_configs", {})
    return values
