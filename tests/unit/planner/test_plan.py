"""Plans of shapes that no golden file has: those of `fixtures/golden` are held there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from metaflow_dagster.ir.flow import End, Foreach, Linear, Parallel, Split, Switch, Transition
from metaflow_dagster.planner import show_plan
from tests.unit.samples import flow_of, planned


@pytest.mark.parametrize(
    ("transitions", "joins", "plan"),
    [
        pytest.param(
            {"start": Linear("end"), "end": End()},
            {},
            """
    op_start()
    op_end(op_start)
""",
            id="linear",
        ),
        pytest.param(
            {
                "start": Split(("a", "b")),
                "a": Linear("join"),
                "b": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start"},
            """
    op_start() -> a and b
    op_a(op_start.a)
    op_b(op_start.b)
    op_join(op_a, op_b)
    op_end(op_join)
""",
            id="split",
        ),
        pytest.param(
            {
                "start": Foreach("a", "xs"),
                "a": Foreach("b", "ys"),
                "b": Linear("c"),
                "c": Linear("inner"),
                "inner": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start", "inner": "a"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_a(item) -> items as a list
    fan_out_a([op_a, …]) -> one item each  # plumbing
    for each item of fan_out_a:
        op_b(item)
        op_c(op_b)
    regroup_inner([op_c, …]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_inner:
        op_inner(item)
    op_join([op_inner, …])
    op_end(op_join)
""",
            id="nested foreach",
        ),
        pytest.param(
            {
                "start": Foreach("a", "xs"),
                "a": Foreach("b", "ys"),
                "b": Foreach("c", "zs"),
                "c": Linear("j3"),
                "j3": Linear("j2"),
                "j2": Linear("j1"),
                "j1": Linear("end"),
                "end": End(),
            },
            {"j1": "start", "j2": "a", "j3": "b"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_a(item) -> items as a list
    fan_out_a([op_a, …]) -> one item each  # plumbing
    for each item of fan_out_a:
        op_b(item) -> items as a list
    fan_out_b([op_b, …]) -> one item each  # plumbing
    for each item of fan_out_b:
        op_c(item)
    regroup_j3([op_c, …]) -> one item a path of 2 foreach indices  # plumbing
    for each item of regroup_j3:
        op_j3(item)
    regroup_j2([op_j3, …]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_j2:
        op_j2(item)
    op_j1([op_j2, …])
    op_end(op_j1)
""",
            id="triple foreach",
        ),
        pytest.param(
            {
                "start": Foreach("a", "xs"),
                "a": Split(("b", "c")),
                "b": Foreach("d", "ys"),
                "d": Linear("jd"),
                "jd": Linear("inner"),
                "c": Linear("inner"),
                "inner": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start", "inner": "a", "jd": "b"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_a(item) -> b and c
        op_b(op_a.b) -> items as a list
        op_c(op_a.c)
    fan_out_b([op_b, …]) -> one item each  # plumbing
    for each item of fan_out_b:
        op_d(item)
    regroup_jd([op_d, …]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_jd:
        op_jd(item)
    gather_jd([op_jd, …])  # plumbing
    gather_c([op_c, …])  # plumbing
    regroup_inner([gather_jd | gather_c]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_inner:
        op_inner(item)
    op_join([op_inner, …])
    op_end(op_join)
""",
            id="split in foreach with foreach in a branch",
        ),
        pytest.param(
            {
                "start": Switch(("a", "b"), "x"),
                "a": Linear("c"),
                "c": Linear("end"),
                "b": Linear("end"),
                "end": End(),
            },
            {},
            """
    op_start() -> a or b
    op_a(op_start.a)
    op_c(op_a)
    op_b(op_start.b)
    op_end([op_c | op_b])
""",
            id="switch",
        ),
        pytest.param(
            {"start": Switch(("a", "end"), "x"), "a": Linear("end"), "end": End()},
            {},
            """
    op_start() -> a or end
    op_a(op_start.a)
    op_end([op_start.end | op_a])
""",
            id="switch direct",
        ),
        pytest.param(
            {
                "start": Foreach("a", "xs"),
                "a": Switch(("b", "c"), "x"),
                "b": Linear("m"),
                "c": Linear("m"),
                "m": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_a(item) -> b or c
        op_b(op_a.b)
        op_c(op_a.c)
    gather_b([op_b, …])  # plumbing
    gather_c([op_c, …])  # plumbing
    regroup_m([gather_b | gather_c]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_m:
        op_m(item)
    op_join([op_m, …])
    op_end(op_join)
""",
            id="switch merging in foreach",
        ),
        pytest.param(
            {
                "start": Switch(("a", "b"), "x"),
                "a": Foreach("c", "xs"),
                "c": Linear("jc"),
                "jc": Linear("end"),
                "b": Linear("end"),
                "end": End(),
            },
            {"jc": "a"},
            """
    op_start() -> a or b
    op_a(op_start.a) -> one item each
    for each item of op_a:
        op_c(item)
    op_jc([op_c, …])
    op_b(op_start.b)
    op_end([op_jc | op_b])
""",
            id="foreach in case",
        ),
        pytest.param(
            {
                "start": Switch(("a", "b"), "x"),
                "a": Foreach("c", "xs"),
                "b": Foreach("c", "xs"),
                "c": Linear("jc"),
                "jc": Linear("end"),
                "end": End(),
            },
            {"jc": "a"},
            """
    op_start() -> a or b
    op_a(op_start.a) -> items as a list
    op_b(op_start.b) -> items as a list
    fan_out_c([op_a | op_b]) -> one item each  # plumbing
    for each item of fan_out_c:
        op_c(item)
    op_jc([op_c, …])
    op_end(op_jc)
""",
            id="cases fan out into one step",
        ),
        pytest.param(
            {"start": Linear("a"), "a": Switch(("a", "end"), "x"), "end": End()},
            {},
            """
    op_start()
    op_a(op_start) -> end
    op_end(op_a.end)
""",
            id="recursive",
        ),
        pytest.param(
            {"start": Parallel("a"), "a": Linear("join"), "join": Linear("end"), "end": End()},
            {"join": "start"},
            """
    op_start()
    op_a(op_start) -> nodes as a list
    op_join(op_a)
    op_end(op_join)
""",
            id="parallel",
        ),
        pytest.param(
            {
                "start": Foreach("p", "xs"),
                "p": Parallel("a"),
                "a": Linear("inner"),
                "inner": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start", "inner": "p"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_p(item)
        op_a(op_p) -> nodes as a list
        op_inner(op_a)
    op_join([op_inner, …])
    op_end(op_join)
""",
            id="parallel in foreach",
        ),
        pytest.param(
            {
                "start": Switch(("a", "b"), "x"),
                "a": Split(("c", "d")),
                "c": Linear("j"),
                "d": Linear("j"),
                "j": Linear("end"),
                "b": Linear("end"),
                "end": End(),
            },
            {"j": "a"},
            """
    op_start() -> a or b
    op_a(op_start.a) -> c and d
    op_c(op_a.c)
    op_d(op_a.d)
    op_j(op_c, op_d)
    op_b(op_start.b)
    op_end([op_j | op_b])
""",
            id="split in case",
        ),
        pytest.param(
            {
                "start": Switch(("a", "b", "c"), "x"),
                "a": Switch(("d", "end"), "y"),
                "d": Linear("end"),
                "b": Linear("end"),
                "c": Linear("end"),
                "end": End(),
            },
            {},
            """
    op_start() -> a or b or c
    op_a(op_start.a) -> d or end
    op_d(op_a.d)
    op_b(op_start.b)
    op_c(op_start.c)
    op_end([op_a.end | op_d | op_b | op_c])
""",
            id="many ends",
        ),
        pytest.param(
            {
                "start": Foreach("a", "xs"),
                "a": Split(("b", "c")),
                "b": Switch(("d", "e"), "x"),
                "d": Linear("m"),
                "e": Linear("m"),
                "c": Linear("m"),
                "m": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"join": "start", "m": "a"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_a(item) -> b and c
        op_b(op_a.b) -> d or e
        op_d(op_b.d)
        op_e(op_b.e)
        op_c(op_a.c)
    gather_d([op_d, …])  # plumbing
    gather_e([op_e, …])  # plumbing
    gather_c([op_c, …])  # plumbing
    regroup_m([gather_d | gather_e | gather_c]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_m:
        op_m(item)
    op_join([op_m, …])
    op_end(op_join)
""",
            id="switch in split in foreach",
        ),
        pytest.param(
            {
                "start": Linear("a"),
                "a": Switch(("a", "b"), "x"),
                "b": Foreach("c", "xs"),
                "c": Linear("j"),
                "j": Linear("end"),
                "end": End(),
            },
            {"j": "b"},
            """
    op_start()
    op_a(op_start) -> b
    op_b(op_a.b) -> one item each
    for each item of op_b:
        op_c(item)
    op_j([op_c, …])
    op_end(op_j)
""",
            id="foreach in recursive",
        ),
        pytest.param(
            {
                "start": Foreach("s", "xs"),
                "s": Switch(("a", "b"), "x"),
                "a": Foreach("c", "xs"),
                "b": Foreach("c", "xs"),
                "c": Linear("jc"),
                "jc": Linear("join"),
                "join": Linear("end"),
                "end": End(),
            },
            {"jc": "a", "join": "start"},
            """
    op_start() -> one item each
    for each item of op_start:
        op_s(item) -> a or b
        op_a(op_s.a) -> items as a list
        op_b(op_s.b) -> items as a list
    gather_a([op_a, …])  # plumbing
    gather_b([op_b, …])  # plumbing
    fan_out_c([gather_a | gather_b]) -> one item each  # plumbing
    for each item of fan_out_c:
        op_c(item)
    regroup_jc([op_c, …]) -> one item a path of 1 foreach indices  # plumbing
    for each item of regroup_jc:
        op_jc(item)
    op_join([op_jc, …])
    op_end(op_join)
""",
            id="cases fan out into one step in a foreach",
        ),
    ],
)
def test_plan(transitions: Mapping[str, Transition], joins: Mapping[str, str], plan: str) -> None:
    assert show_plan(planned(flow_of(transitions, joins))) == f"job MyFlow{plan}"


def test_glue_ops_are_told_apart_from_steps_that_are_called_like_them() -> None:
    transitions: Mapping[str, Transition] = {
        "start": Foreach("a", "xs"),
        "a": Foreach("b", "ys"),
        "b": Linear("fan_out_a"),
        "fan_out_a": Linear("join"),
        "join": Linear("end"),
        "end": End(),
    }
    plan = planned(flow_of(transitions, {"fan_out_a": "a", "join": "start"}))
    definitions = [op.definition for op in plan.ops()]
    assert len(set(definitions)) == len(definitions)
