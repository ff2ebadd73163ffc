"""A flow file that stands in for one that is not at hand, to launch runs of its job on a server.

It has the name and the parameters of the flow, which is all that launching takes.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from pathlib import Path

from metaflow_dagster.operate.errors import DeploymentNotFound
from metaflow_dagster.operate.served import ServedParameter

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
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    {name}()
"""


def write_stand_in(directory: Path, flow: str, parameters: Sequence[ServedParameter]) -> Path:
    """Write the flow file to a directory."""
    # What a server says becomes Python here.
    if not flow.isidentifier() or keyword.iskeyword(flow):
        raise DeploymentNotFound(
            f"{flow!r} is not the name of a flow. Compile the flow again, and reload the location."
        )
    lines = [
        f"    parameter_{index} = Parameter({one.name!r}, type={_TYPES.get(one.kind, 'JSONType')}, "
        f"required={bool(one.is_required)!r})\n"
        for index, one in enumerate(parameters)
    ]
    file = directory / "stand_in.py"
    file.write_text(_FLOW.format(name=flow, parameters="".join(lines)), encoding="utf-8")
    return file
