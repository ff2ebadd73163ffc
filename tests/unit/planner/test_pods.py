from __future__ import annotations

from dataclasses import replace

import pytest

from metaflow_dagster.ir.flow import Flow, Pod
from metaflow_dagster.planner import check_pods, in_pods, without_pods
from tests.unit.samples import FLOW_FILE, linear_flow

SMALL = Pod(container=(("resources", {"requests": {"cpu": "1"}}),))
ASKED = replace(SMALL, by_kubernetes=True)


def flow_with(pod: Pod | None, *hooks: str) -> Flow:
    """A flow whose first step asks for a pod, and has decorators with hooks."""
    flow = linear_flow()
    start, end = flow.steps
    return replace(flow, steps=(replace(start, pod=pod, hooks=hooks), end))


def test_without_pods_the_decorator_starts_them() -> None:
    (start, _) = without_pods(flow_with(ASKED, "kubernetes")).steps
    assert start.pod is None
    assert start.hooks == ("kubernetes",)


@pytest.mark.parametrize(
    ("hooks", "left"),
    [
        pytest.param((), (), id="none"),
        pytest.param(("kubernetes",), (), id="kubernetes"),
        pytest.param(("sandbox",), ("sandbox",), id="other"),
    ],
)
def test_in_a_pod_no_other_is_started(hooks: tuple[str, ...], left: tuple[str, ...]) -> None:
    (start, _) = in_pods(flow_with(ASKED, *hooks)).steps
    assert start.pod == ASKED
    assert start.hooks == left


@pytest.mark.parametrize(
    ("pod", "hooks"),
    [
        pytest.param(None, (), id="nothing"),
        pytest.param(None, ("pypi",), id="decorator with hooks"),
        pytest.param(SMALL, ("pypi",), id="resources"),
        pytest.param(ASKED, ("kubernetes",), id="kubernetes"),
    ],
)
def test_accepted(pod: Pod | None, hooks: tuple[str, ...]) -> None:
    assert list(check_pods(flow_with(pod, *hooks))) == []


@pytest.mark.parametrize(
    ("pod", "hooks", "named"),
    [
        pytest.param(
            replace(ASKED, beyond_dagster=("port", "namespace")),
            ("kubernetes",),
            ["@kubernetes with port", "@kubernetes with namespace"],
            id="attributes",
        ),
        pytest.param(ASKED, ("pypi", "kubernetes"), ["@kubernetes with @pypi"], id="decorator"),
        pytest.param(
            replace(ASKED, beyond_dagster=("@parallel",)),
            ("kubernetes", "conda"),
            ["@kubernetes with @parallel", "@kubernetes with @conda"],
            id="both",
        ),
    ],
)
def test_refused(pod: Pod, hooks: tuple[str, ...], named: list[str]) -> None:
    found = list(check_pods(flow_with(pod, *hooks)))
    assert [each.message.split(" cannot ")[0] for each in found] == named
    for each in found:
        assert each.step == "start"
        assert each.location is not None
        assert (each.location.file, each.location.line) == (FLOW_FILE, 1)
        assert "--executor threads" in str(each)
