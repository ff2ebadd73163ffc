"""The config class of the start op: one typed field a parameter.

class TrainFlowConfig(Config):
    rate: float = Field(0.1, description="Learning rate")
    my_rate: int = Field(alias="my-rate")
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Sequence
from typing import Final

from typing_extensions import assert_never

from metaflow_dagster.emit.build import (
    Expression,
    Statement,
    annotated,
    call,
    class_,
    docstring,
    literal,
    spaced,
    subscript,
)
from metaflow_dagster.emit.place import Place
from metaflow_dagster.emit.scope import ModuleScope
from metaflow_dagster.emit.settings import path_expression
from metaflow_dagster.ir.flow import (
    DefaultPath,
    DefaultValue,
    Flow,
    LeftToMetaflow,
    Parameter,
    ParameterKind,
    Required,
)
from metaflow_dagster.names import Scope

# Members of pydantic's BaseModel and dagster's Config, which a field must not hide.
_CONFIG_MEMBERS: Final = frozenset(
    {
        "construct",
        "copy",
        "dict",
        "from_orm",
        "json",
        "parse_file",
        "parse_obj",
        "parse_raw",
        "schema",
        "schema_json",
        "to_config_schema",
        "to_fields_dict",
        "update_forward_refs",
        "validate",
    }
)
# What annotations and defaults of the fields after it refer to.
_USED_IN_BODY: Final = frozenset({"Any", "Config", "Field", "HERE", "Optional", "os"})

_PASSED_AS_SELF: Final = "self"


def needs_raw_config(flow: Flow) -> bool:
    """Whether Dagster cannot make an instance of the config class.

    It passes every value as a keyword, so that a parameter called `self` meets the instance
    (dagster/_config/pythonic_config/config.py: Config.__init__).
    """
    return any(parameter.name == _PASSED_AS_SELF for parameter in flow.config_parameters)


def config_class(identifier: str, flow: Flow, scope: ModuleScope, place: Place) -> Statement:
    """The class, for a flow that has parameters."""
    parameters = flow.config_parameters
    identifiers = _identifiers([parameter.name for parameter in parameters])
    first, *others = [
        _field(identifier, parameter, scope, place)
        for identifier, parameter in zip(identifiers, parameters, strict=True)
    ]
    summary = docstring(f"Parameters of a run of {ascii(flow.name)[1:-1]}.")
    return class_(identifier, scope.ref("Config"), [summary, spaced(first, 1), *others])


def _identifiers(names: Sequence[str]) -> list[str]:
    """The fields of the parameters. Dagster mixes up a field with another that has it as alias."""
    taken = _CONFIG_MEMBERS | _USED_IN_BODY | frozenset(dir(builtins))
    fields = Scope(taken.union(names))
    return [
        name
        if name == _wished_name(name) and name not in taken
        else fields.claim(_wished_name(name))
        for name in names
    ]


def _field(identifier: str, parameter: Parameter, scope: ModuleScope, place: Place) -> Statement:
    default = _default(parameter, scope, place)
    keywords = {
        "alias": literal(parameter.name) if identifier != parameter.name else None,
        "description": literal(parameter.description) if parameter.description else None,
    }
    positional = [] if default is None else [default]
    if any(keywords.values()) or default is None:
        default = call(scope.ref("Field"), *positional, keywords=keywords)
    return annotated(identifier, _annotation(parameter, scope), default)


def _wished_name(name: str) -> str:
    """An identifier that pydantic takes for a field."""
    plain = re.sub(r"\W", "_", name).lstrip("_") or "parameter"
    if plain.startswith("model_") or not plain.isidentifier() or not plain.isascii():
        plain = "parameter_" + re.sub(r"[^A-Za-z0-9_]", "_", plain)
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _annotation(parameter: Parameter, scope: ModuleScope) -> Expression:
    match parameter.kind:
        case ParameterKind.JSON:
            return scope.ref("Any")
        case ParameterKind.STR | ParameterKind.FILE:
            plain = scope.builtin("str")
        case ParameterKind.INT | ParameterKind.FLOAT | ParameterKind.BOOL:
            plain = scope.builtin(parameter.kind.value)
        case _:
            assert_never(parameter.kind)
    if isinstance(parameter.default, LeftToMetaflow):
        return subscript(scope.ref("Optional"), plain)
    return plain


def _default(parameter: Parameter, scope: ModuleScope, place: Place) -> Expression | None:
    match parameter.default:
        case Required():
            return None
        case LeftToMetaflow():
            return literal(None)
        case DefaultValue(value):
            return literal(value)
        case DefaultPath(path):
            return path_expression(path, scope, place)
        case _:
            assert_never(parameter.default)
