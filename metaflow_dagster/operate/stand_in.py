"""A flow file that stands in for one that is not at hand, to launch runs of its job on a server.

It has the name, the parameters and the steps of the flow, which is all that launching takes.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from metaflow import FlowSpec

from metaflow_dagster.operate.errors import DeploymentNotFound
from metaflow_dagster.operate.served import ServedFlow

# By Dagster's types; what has none of these is JSON. A file is a text: its path where steps run.
# Fields of a config class may be read from variables (dagster/_config/source.py).
_TYPES = {
    "Bool": "bool",
    "BoolSourceType": "bool",
    "Float": "float",
    "Int": "int",
    "IntSourceType": "int",
    "String": "str",
    "StringSourceType": "str",
}

_FLOW = """\
from metaflow import FlowSpec, JSONType, Parameter, step


class {name}(FlowSpec):
{parameters}
{steps}

if __name__ == "__main__":
    {name}()
"""
_STEP = """\
    @step
    def {name}(self):
        {body}
"""


def write_stand_in(directory: Path, flow: ServedFlow) -> Path:
    """Write the flow file to a directory."""
    # The texts of a server become Python here.
    if not _is_name(flow.name):
        raise DeploymentNotFound(
            f"{flow.name!r} is not the name of a flow. Compile the flow again, and reload the "
            "location."
        )
    parameters, steps = "\n".join(_parameters(flow)), "\n".join(_steps(flow))
    text = _FLOW.format(name=flow.name, parameters=parameters, steps=steps)
    file = directory / "stand_in.py"
    file.write_text(text, encoding="utf-8")
    return file


def _parameters(flow: ServedFlow) -> Iterator[str]:
    """A parameter is mostly called as its variable is, under which Metaflow stores its value."""
    for index, parameter in enumerate(flow.parameters):
        is_free = _is_name(parameter.name) and parameter.name not in {*dir(FlowSpec), *flow.steps}
        variable = parameter.name if is_free else f"parameter_{index}"
        kind = _TYPES.get(parameter.kind, "JSONType")
        required = bool(parameter.is_required)
        yield f"    {variable} = Parameter({parameter.name!r}, type={kind}, {required=!r})"


def _steps(flow: ServedFlow) -> Iterator[str]:
    """The steps one after the other: in which order they run is not for launching to know."""
    between = [name for name in flow.steps if _is_name(name) and name not in ("start", "end")]
    for name, following in pairwise(["start", *between, "end"]):
        yield _STEP.format(name=name, body=f"self.next(self.{following})")
    yield _STEP.format(name="end", body="pass")


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)
