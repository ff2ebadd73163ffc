"""Flow parameters in the form in which Dagster's run configuration takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from metaflow.includefile import IncludedFile
from metaflow.parameters import DelayedEvaluationParameter
from typing_extensions import assert_never

from metaflow_dagster.frontend.parameters import parameter_kinds
from metaflow_dagster.frontend.protocols import FlowObject
from metaflow_dagster.ir.flow import ParameterKind

# Stands for a file that a run will not read.
FILE_PLACEHOLDER = "(as in the run that is resumed)"


def given_config(kind: ParameterKind, text: str, value: object) -> object:
    """The configuration of a parameter that was given as a text, with what Metaflow made of it.

    A file is stored where Metaflow stores included files: what counts is its content now, and the
    machine that executes the run need not have it.
    """
    match kind:
        case ParameterKind.STR:
            return text
        case ParameterKind.FILE:
            return _stored_file(value)
        case ParameterKind.JSON:
            return text if isinstance(value, str) else value  # a text is one of JSON there
        case ParameterKind.INT | ParameterKind.FLOAT | ParameterKind.BOOL:
            return value
        case _:
            assert_never(kind)


def _stored_file(value: object) -> object:
    if isinstance(value, IncludedFile):
        return json.dumps(value.descriptor)
    if isinstance(value, DelayedEvaluationParameter):
        return value(return_str=True)
    return value


def resumed_config(flow: FlowObject, values: Mapping[str, object]) -> dict[str, object]:
    """The configuration that has the values of another run, as far as the flow takes them.

    The run takes its parameters from that run, so this need not be more than acceptable.
    """
    return {
        name: _acceptable(kind, values[name])
        for name, kind in parameter_kinds(flow).items()
        if values.get(name) is not None
    }


def _acceptable(kind: ParameterKind, value: object) -> object:
    match kind:
        case ParameterKind.STR:
            return value if isinstance(value, str) else str(value)
        case ParameterKind.FILE:
            return FILE_PLACEHOLDER
        case ParameterKind.JSON:
            return json.loads(json.dumps(value, default=str))
        case ParameterKind.INT | ParameterKind.FLOAT | ParameterKind.BOOL:
            return value
        case _:
            assert_never(kind)
