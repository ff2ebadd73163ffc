"""The document of the graph shapes, made of the flows in fixtures/shapes.

python -m tests.shapes_doc          says whether docs/graph-shapes.md is current
python -m tests.shapes_doc --write  writes it
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.pages import whole_page
from tests.documents import check_or_write
from tests.golden import SHAPES, class_run_by, isolate

DOCUMENT = whole_page("docs/graph-shapes.md")

# What the document shows, in its order.
SHOWN = (
    "nested_splits",
    "switch",
    "several_ends",
    "switch_in_branch",
    "foreach_in_case",
    "recursion",
    "parallel_nodes",
    "foreach_branches",
    "switch_ends_foreach",
    "switch_in_foreach",
    "nested_foreach",
    "branch_with_foreach",
)

INTRODUCTION = """\
# Graph shapes

Every shape of graph that Metaflow allows becomes a Dagster job in which each step is one op. Here
are some flows of `fixtures/shapes`, what `python FLOW.py dagster create --show-plan` prints for
them, and the graph of the job. The tests run all flows of that directory by Metaflow and by
Dagster and compare the tasks and artifacts.

In the pictures, boxes are steps and rounded ones are plumbing: ops that run no step but lead task
paths from one lane to another. A dotted frame is a lane, whose ops run once an item. Arrows with a
name are the optional outputs of a switch. Plans and lanes are explained in
[architecture.md](architecture.md).

This page is written by `make docs`.
"""


@dataclass(frozen=True)
class Shape:
    """A flow of fixtures/shapes."""

    file: Path
    class_name: str
    description: str

    @property
    def stem(self) -> str:
        return self.file.stem


def shapes() -> list[Shape]:
    """The flows of fixtures/shapes that can be run."""
    return [
        Shape(file, class_name, ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "")
        for file in sorted(SHAPES.glob("*.py"))
        if (class_name := class_run_by(file))
    ]


def document() -> str:
    """The text of the document."""
    by_name = {shape.stem: shape for shape in shapes()}
    return "\n".join([INTRODUCTION, *(_section(by_name[name]) for name in SHOWN)])


def _section(shape: Shape) -> str:
    plan = _plan(shape)
    title = shape.stem.replace("_", " ").capitalize()
    return "\n".join(
        [
            f"## {title}\n",
            f"{shape.description}\n",
            f"[{shape.file.name}](../fixtures/shapes/{shape.file.name})\n",
            f"```text\n{_graph_of(shape)}\n```\n",
            f"```text\n{_shown(plan)}```\n",
            f"```mermaid\n{_mermaid(plan)}\n```\n",
        ]
    )


def _graph_of(shape: Shape) -> str:
    """The steps with their calls of `self.next`, one a line; joins with their inputs."""
    tree = ast.parse(shape.file.read_text(encoding="utf-8"))
    (flow,) = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == shape.class_name
    ]
    steps = [node for node in flow.body if isinstance(node, ast.FunctionDef)]
    heads = [each.name + ("(inputs)" if len(each.args.args) > 1 else "") for each in steps]
    width = max(map(len, heads))
    return "\n".join(
        f"{head:{width}}  {ast.unparse(step.body[-1]) if _is_next(step.body[-1]) else ''}".rstrip()
        for head, step in zip(heads, steps, strict=True)
    )


def _is_next(statement: ast.stmt) -> bool:
    return ast.unparse(statement).startswith("self.next(")


def _plan(shape: Shape) -> Any:
    from metaflow_dagster.frontend import library_session, read_flow
    from metaflow_dagster.planner import plan_job

    with _importable(SHAPES):
        flow_class = getattr(importlib.import_module(shape.stem), shape.class_name)
    with library_session(flow_class) as session:
        flow = read_flow(session)
        return plan_job(flow, flow.job_name)


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))


def _shown(plan: Any) -> str:
    from metaflow_dagster.planner import show_plan

    return show_plan(plan)


def _mermaid(plan: Any) -> str:
    return "\n".join(f"    {line}" if index else line for index, line in enumerate(_lines(plan)))


def _lines(plan: Any) -> Iterator[str]:
    from metaflow_dagster.ir.job import Lane

    yield "flowchart LR"
    for number, placement in enumerate(plan.placements):
        if isinstance(placement, Lane):
            yield f'subgraph lane{number} ["each item of {placement.source.op}"]'
            yield from (f"    {_box(op)}" for op in placement.ops)
            yield "end"
            yield f"style lane{number} fill:none,stroke-dasharray:4"
        else:
            yield _box(placement)
    for op in plan.ops():
        yield from _arrows(op)


def _box(op: Any) -> str:
    from metaflow_dagster.ir.job import GlueOp

    return f"{op.name}([{op.name}])" if isinstance(op, GlueOp) else f"{op.name}[{op.name}]"


def _arrows(op: Any) -> Iterator[str]:
    from metaflow_dagster.ir.job import Collected, FanIn, GlueOp, Item, sources

    for each in (op.input,) if isinstance(op, GlueOp) else op.inputs:
        for source in sources(each.wire):
            match each.wire:
                case Item():
                    arrow = "-- each item -->"
                case Collected():
                    arrow = "-- all items -->"
                case FanIn() if source.output is None:
                    arrow = "-->"
                case _:
                    arrow = f"-- {source.output} -->" if source.output else "-->"
            yield f"{source.op} {arrow} {op.name}"


if __name__ == "__main__":
    isolate()
    sys.exit(check_or_write(DOCUMENT, document()))
