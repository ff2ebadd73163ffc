"""Flow parameters, with their defaults as of compile time.

A default is baked only where text brings it back unchanged: parameters reach Metaflow as
environment variables. Any other default is left to Metaflow, which applies it when a run starts.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

from metaflow.includefile import FilePathClass
from metaflow.parameters import DeployTimeField, JSONTypeClass

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import secret_entries
from metaflow_dagster.frontend.json_values import as_json
from metaflow_dagster.frontend.protocols import FlowObject, FlowParameter
from metaflow_dagster.frontend.texts import fits_environment, without_surrogates
from metaflow_dagster.internals.metaflow import MetaflowFlow, MetaflowReading
from metaflow_dagster.ir.flow import (
    Default,
    DefaultPath,
    DefaultValue,
    LeftToMetaflow,
    Parameter,
    ParameterKind,
    Required,
)

_SCALARS = {
    str: ParameterKind.STR,
    int: ParameterKind.INT,
    float: ParameterKind.FLOAT,
    bool: ParameterKind.BOOL,
}


def check_parameters(flow: FlowObject) -> Iterator[Diagnostic]:
    """Parameters that cannot be passed on."""
    seen: dict[str, str] = {}
    for _, parameter in MetaflowFlow.parameters(flow)():
        if parameter.IS_CONFIG_PARAMETER:
            continue
        if not parameter.name.replace("-", "_").lower().isidentifier():
            yield Diagnostic(
                f"The parameter name {parameter.name!r} is not one that Metaflow's command line "
                "takes for an option.",
                "Use letters, digits, dashes and underscores, and no digit first.",
            )
        variable = parameter.name.replace("-", "_").lower().upper()
        if variable in seen:
            yield Diagnostic(
                f"Parameters {seen[variable]} and {parameter.name} are one and the same to "
                "Metaflow's command line.",
                "Names must differ in more than case, dashes and underscores: rename one.",
            )
        seen[variable] = parameter.name


def read_parameters(flow: FlowObject) -> Iterator[Parameter]:
    """The parameters in the order Metaflow lists them."""
    for _, parameter in MetaflowFlow.parameters(flow)():
        if parameter.IS_CONFIG_PARAMETER:
            continue
        kind = _kind(parameter)
        yield Parameter(
            name=parameter.name,
            kind=kind,
            default=_default(parameter, kind),
            description=without_surrogates(str(parameter.kwargs.get("help") or "")),
        )


def parameter_kinds(flow: FlowObject) -> dict[str, ParameterKind]:
    """The kinds of the parameters by name, without evaluating any default."""
    return {
        parameter.name: _kind(parameter)
        for _, parameter in MetaflowFlow.parameters(flow)()
        if not parameter.IS_CONFIG_PARAMETER
    }


def _is_required(parameter: FlowParameter) -> bool:
    return bool(parameter.kwargs.get("default") is None and parameter.kwargs.get("required"))


def _kind(parameter: FlowParameter) -> ParameterKind:
    declared = parameter.kwargs["type"]
    if isinstance(declared, FilePathClass):
        return ParameterKind.FILE
    if isinstance(declared, JSONTypeClass):
        return ParameterKind.JSON
    if isinstance(declared, type):
        return _SCALARS.get(declared, ParameterKind.STR)
    # A click type (IntRange, Choice, …) converts text by itself.
    return ParameterKind.STR


def _default(parameter: FlowParameter, kind: ParameterKind) -> Default:
    """The default; one that looks like a credential must not stand in a file."""
    match _known_default(parameter, kind):
        case DefaultValue(value) if any(secret_entries(parameter.name, value)):
            return LeftToMetaflow()
        case default:
            return default


def _known_default(parameter: FlowParameter, kind: ParameterKind) -> Default:
    default = parameter.kwargs.get("default")
    if default is None:
        return Required() if _is_required(parameter) else LeftToMetaflow()
    match kind:
        case ParameterKind.FILE:
            return _file_default(default)
        case ParameterKind.JSON:
            return _json_default(default)
        case _:
            return _scalar_default(default, kind, parameter.kwargs["type"])


def _file_default(default: DeployTimeField) -> Default:
    """Included files are read when a run starts, as under `run`, not when the flow is compiled."""
    try:
        path = os.fsdecode(default(deploy_time=False))
    except TypeError:
        return LeftToMetaflow()
    return DefaultPath(os.path.abspath(os.path.expanduser(path)))


def _given_by(default: DeployTimeField) -> Any:
    """The value that the function of a default gives when a flow is deployed."""
    results: list[Any] = []

    def kept(*arguments: Any) -> Any:
        results.append(default.fun(*arguments))
        return results[-1]

    kept_field = copy.copy(default)
    kept_field.fun = kept
    kept_field(deploy_time=True)  # with its errors, and a check that texts alone make up for
    return results[-1]


def _check_given(default: DeployTimeField, value: Any) -> None:
    """Refuse what Metaflow refuses when a run is started, where it takes no JSON for a text."""
    is_deploying = False
    MetaflowReading.check_type(default, value, is_deploying)


def _json_default(default: Any) -> Default:
    if not isinstance(default, DeployTimeField):
        return _known_json(default)
    value = _given_by(default)
    known = _known_json(value)
    if isinstance(known, LeftToMetaflow):
        _check_given(default, value)
    return known


def _known_json(default: Any) -> Default:
    try:
        value = json.loads(default) if isinstance(default, str) else default
        text = json.dumps(value, allow_nan=False)
        read = as_json(value)
    except (TypeError, ValueError, RecursionError):
        return LeftToMetaflow()
    # `repr` tells apart what compares equal, such as 1 and True.
    if repr(read) != repr(value) or not fits_environment(text):
        return LeftToMetaflow()
    # A text in Dagster's configuration is one of JSON, as on the command line.
    return DefaultValue(text if isinstance(read, str) else read)


def _scalar_default(default: Any, kind: ParameterKind, declared: object) -> Default:
    value: Any = default
    if isinstance(default, DeployTimeField):
        value = _given_by(default)
        _check_given(default, value)
    if declared not in _SCALARS or not _is_faithful(value, kind):
        return LeftToMetaflow()
    return DefaultValue(float(value) if kind is ParameterKind.FLOAT else value)


def _is_faithful(value: Any, kind: ParameterKind) -> bool:
    match kind:
        case ParameterKind.STR:
            return type(value) is str and fits_environment(value)
        case ParameterKind.INT:
            return type(value) is int and _has_digits(value)
        case ParameterKind.FLOAT:
            return type(value) is float or (type(value) is int and _is_float(value))
        case ParameterKind.BOOL:
            return type(value) is bool
        case _:
            return False


def _has_digits(number: int) -> bool:
    """Whether Python writes and reads the number, which it refuses of very long ones."""
    try:
        str(number)
    except ValueError:
        return False
    return True


def _is_float(number: int) -> bool:
    try:
        float(number)
    except OverflowError:
        return False
    return True
