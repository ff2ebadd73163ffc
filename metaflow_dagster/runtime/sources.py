"""Where the code of the steps is, as it is now: lines move, and a generated file need not."""

import ast
import os
import warnings
from functools import cache

from dagster import CodeReferencesMetadataValue, LocalFileCodeReference

from metaflow_dagster.runtime.command import flow_file
from metaflow_dagster.runtime.settings import FlowSettings


def flow_description(flow: FlowSettings) -> str:
    """The description of the job: that of the flow, and where it is."""
    file = flow_file(flow)
    place = named_place(flow, file, source_lines(file).get(flow.name))
    return f"{flow.description.rstrip()}\n\nFlow {flow.name}, {place}".lstrip()


def step_description(flow: FlowSettings, step: str, text: str = "") -> str:
    """The description of an op: that of its step, and where it is."""
    place = named_place(flow, *step_source(flow, step))
    return f"{text.rstrip()}\n\nStep {step}, {place}".lstrip()


def named_place(flow: FlowSettings, file: str, line: int | None) -> str:
    """A file, as seen from the generated one, and a line in it; its name if it is not here."""
    return f"{os.path.relpath(file, flow.here)}:{line}" if line else os.path.basename(file)


def code_references(flow: FlowSettings) -> CodeReferencesMetadataValue:
    """The metadata by which Dagster's UI opens the code of the steps in an editor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster has called this beta since 1.9
        return CodeReferencesMetadataValue(
            code_references=[code_reference(flow, step) for step in flow.next_steps]
        )


def code_reference(flow: FlowSettings, step: str) -> LocalFileCodeReference:
    """The metadata by which Dagster's UI opens the code of a step."""
    file, line = step_source(flow, step)
    return LocalFileCodeReference(file_path=os.path.abspath(file), line_number=line, label=step)


def step_source(flow: FlowSettings, step: str) -> tuple[str, int | None]:
    """The file of a step, and its line; None where the file is not on this machine."""
    file, class_name = flow.inherited_steps.get(step, (flow_file(flow), flow.name))
    return file, source_lines(file).get(f"{class_name}.{step}")


@cache
def source_lines(file: str) -> dict[str, int]:
    """The line of statement class and method in a file, by its qualified name."""
    try:
        with open(file, "rb") as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the flow itself is warned of
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return {}
    lines: dict[str, int] = {}
    pending: list[tuple[str, list[ast.stmt]]] = [("", tree.body)]
    while pending:
        prefix, body = pending.pop()
        for statement in body:
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                lines[prefix + statement.name] = statement.lineno
            if isinstance(statement, ast.ClassDef):
                pending.append((f"{prefix}{statement.name}.", statement.body))
    return lines
