from __future__ import annotations

from pathlib import Path

import pytest

from metaflow_dagster.ir.flow import End, Foreach, Linear, Parallel, Split, Switch, Transition
from tests.unit.flows import HEADER, flow_class, read

SHAPES = '''
class MyFlow(FlowSpec):
    """All there is.
    """
    @step
    def start(self):
        """Splits."""
        self.next(self.one, self.fan, self.nodes, self.loop)

    @step
    def one(self):
        self.next(self.join)

    @step
    def fan(self):
        self.next(self.body, foreach="xs")

    @step
    def body(self):
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.next(self.join)

    @step
    def nodes(self):
        self.next(self.node, num_parallel=2)

    @parallel
    @step
    def node(self):
        self.next(self.nodes_join)

    @step
    def nodes_join(self, inputs):
        self.next(self.join)

    @step
    def loop(self):
        self.next({"again": self.loop, "done": self.done}, condition="state")

    @step
    def done(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
'''


@pytest.mark.parametrize(
    ("step", "transition", "parents", "joins"),
    [
        pytest.param("start", Split(("one", "fan", "nodes", "loop")), (), None, id="split"),
        pytest.param("one", Linear("join"), ("start",), None, id="linear"),
        pytest.param("fan", Foreach("body", "xs"), ("start",), None, id="foreach"),
        pytest.param("collect", Linear("join"), ("body",), "fan", id="join of a foreach"),
        pytest.param("nodes", Parallel("node"), ("start",), None, id="parallel"),
        pytest.param("nodes_join", Linear("join"), ("node",), "nodes", id="join of nodes"),
        pytest.param("loop", Switch(("loop", "done"), "state"), ("start",), None, id="recursive"),
        pytest.param("end", End(), ("join",), None, id="end"),
    ],
)
def test_step(
    step: str, transition: Transition, parents: tuple[str, ...], joins: str | None, tmp_path: Path
) -> None:
    read_step = read(flow_class(tmp_path, HEADER + SHAPES)).step(step)
    assert read_step.transition == transition
    assert (read_step.parents, read_step.joins) == (parents, joins)


def test_flow_and_where_its_steps_are(tmp_path: Path) -> None:
    flow = read(flow_class(tmp_path, HEADER + SHAPES))
    assert flow.description == "All there is."
    join = flow.step("join")
    assert set(join.parents) == {"one", "collect", "nodes_join", "done"}
    assert join.joins == "start"
    order = [step.name for step in flow.steps]
    assert all(
        order.index(one) < order.index(step.name) for step in flow.steps for one in step.parents
    )
    lines = Path(flow.file).read_text().splitlines()
    for step in flow.steps:
        assert step.location.file == flow.file
        assert f"def {step.name}(" in lines[step.location.line - 1]
