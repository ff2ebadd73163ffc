"""Metaflow flows out of source text, and what the frontend makes of them."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent

from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.frontend import library_session, read_flow
from metaflow_dagster.ir.flow import Flow

_SERIAL = itertools.count()

HEADER = """\
import json
import os
from functools import partial

from metaflow import *
from metaflow._vendor import click
from metaflow.parameters import JSONType

"""


def flow_source(start: str = "", flow: str = "", body: str = "", name: str = "MyFlow") -> str:
    """A flow of two steps, with decorators of start and of the flow, and class attributes."""
    decorated = f"{start}\n@step" if start else "@step"
    return (
        f"{HEADER}{flow}\nclass {name}(FlowSpec):\n"
        + indent(dedent(body), "    ")
        + "\n"
        + indent(f"{decorated}\ndef start(self):\n    self.next(self.end)\n", "    ")
        + "\n    @step\n    def end(self):\n        pass\n"
        + f'\n\nif __name__ == "__main__":\n    {name}()\n'
    )


def flow_class(directory: Path, source: str, name: str = "MyFlow") -> type:
    """The flow of a file with that source."""
    module_name = f"flow_{next(_SERIAL)}"
    file = directory / f"{module_name}.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    flow: type = getattr(module, name)
    return flow


def read(flow: type, decospecs: Sequence[str] = ()) -> Flow:
    """The flow as the compiler sees it."""
    with library_session(flow) as session:
        session.attach(decospecs)
        return read_flow(session)


def refused(flow: type) -> tuple[Diagnostic, ...]:
    """Why the flow cannot be compiled."""
    try:
        read(flow)
    except CompileError as error:
        return error.diagnostics
    raise AssertionError("the flow was read")
