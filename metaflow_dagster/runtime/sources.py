"""Where the code of the steps is, as it is now: lines move, and a generated file need not."""

import ast
import os
import warnings
from functools import cache

from dagster import CodeReferencesMetadataValue, LocalFileCodeReference

from metaflow_dagster.runtime.command import flow_file
from metaflow_dagster.runtime.settings import FLOW_NAME, HERE, STEP_SOURCES


def flow_description(text: str = "") -> str:
    """What Dagster says of the job: what the flow says of itself, and where that is."""
    file = flow_file()
    place = named_place(file, source_lines(file).get(FLOW_NAME))
    return f"{text.rstrip()}\n\nFlow {FLOW_NAME}, {place}".lstrip()


def step_description(step: str, text: str = "") -> str:
    """What Dagster says of an op: what its step says of itself, and where that is."""
    return f"{text.rstrip()}\n\nStep {step}, {named_place(*step_source(step))}".lstrip()


def named_place(file: str, line: int | None) -> str:
    """A file, as seen from the generated one, and a line in it; its name if it is not here."""
    return f"{os.path.relpath(file, HERE)}:{line}" if line else os.path.basename(file)


def code_references(*steps: str) -> CodeReferencesMetadataValue:
    """What lets Dagster's UI open the code of steps in an editor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster has called this beta since 1.9
        return CodeReferencesMetadataValue(code_references=[*map(code_reference, steps)])


def code_reference(step: str) -> LocalFileCodeReference:
    """What lets Dagster's UI open the code of a step."""
    file, line = step_source(step)
    return LocalFileCodeReference(file_path=os.path.abspath(file), line_number=line, label=step)


def step_source(step: str) -> tuple[str, int | None]:
    """The file of a step, and its line; None where the file is not on this machine."""
    file, class_name = STEP_SOURCES.get(step, [flow_file(), FLOW_NAME])
    return file, source_lines(file).get(f"{class_name}.{step}")


@cache
def source_lines(file: str) -> dict[str, int]:
    """The line of each class and method in a file, by its qualified name."""
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
        for one in body:
            if isinstance(one, (ast.ClassDef, ast.FunctionDef)):
                lines[prefix + one.name] = one.lineno
            if isinstance(one, ast.ClassDef):
                pending.append((f"{prefix}{one.name}.", one.body))
    return lines
