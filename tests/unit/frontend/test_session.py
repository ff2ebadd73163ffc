"""Flows that are read without a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaflow_dagster import CompileError, synthesize
from metaflow_dagster.frontend import library_session
from metaflow_dagster.ir.flow import Project
from tests.unit.flows import flow_class, flow_source, read

EVERYTHING = flow_source(
    start="@retry(times=1)\n@environment(vars={'A': 'b'})\n@card",
    flow="@project(name='atlas')",
    body="""
        p = Parameter('p', default=lambda _: 5, type=int, help='n')
        f = IncludeFile('f', default='/data/a')
        plain = [1]
    """,
)


def state(flow: Any) -> dict[str, Any]:
    """All that a compilation could change of a flow class, in a form that can be compared."""
    steps = {
        name: {
            kind: [(id(each), dict(vars(each))) for each in getattr(step, kind)]
            for kind in ("decorators", "wrappers", "config_decorators")
        }
        for name, step in vars(flow).items()
        if hasattr(step, "is_step")
    }
    parameters = {
        name: dict(getattr(flow, name).kwargs, id=id(getattr(flow, name))) for name in ("p", "f")
    }
    return {
        "attributes": {name: id(value) for name, value in vars(flow).items()},
        "steps": steps,
        "parameters": parameters,
    }


def test_class_stays_as_it_was(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, EVERYTHING)
    before = state(flow)
    synthesize(flow, decospecs=["retry:times=4", "catch"])
    assert state(flow) == before


def test_one_compilation_does_not_change_the_next(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, EVERYTHING)
    again = flow_class(tmp_path, Path(str(flow_file(flow))).read_text())
    options: list[dict[str, Any]] = [
        {},
        {"decospecs": ["resources:cpu=2"], "tags": ["a"]},
        {"decospecs": ["catch"], "namespace": "other"},
        {},
    ]
    output = tmp_path / "out.py"
    together = [synthesize(flow, output=output, **option) for option in options]
    assert together[0] == together[3]
    assert len(set(together)) == 3
    alone = synthesize(again, output=output, **options[1])
    assert alone.replace(flow_file(again).name, flow_file(flow).name) == together[1]


def flow_file(flow: type) -> Path:
    with library_session(flow) as session:
        return Path(session.flow_file)


def test_flow_can_still_be_used(tmp_path: Path) -> None:
    flow: Any = flow_class(tmp_path, EVERYTHING)
    synthesize(flow)
    assert [step.__name__ for step in (flow.start, flow.end)] == ["start", "end"]
    assert flow(use_cli=False).name == "MyFlow"


def test_late_decorator_that_does_not_exist_is_named(tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source())
    with pytest.raises(CompileError, match="nonsense"):
        synthesize(flow, decospecs=["nonsense"])


def test_errors_of_metaflow_are_told_as_ours(tmp_path: Path) -> None:
    source = flow_source().replace("self.next(self.end)", "self.next(self.nowhere)")
    with pytest.raises(CompileError, match="nowhere") as raised:
        synthesize(flow_class(tmp_path, source))
    assert "Validity checker" in str(raised.value) or "nowhere" in str(raised.value)


def test_job_is_named_after_the_flow(tmp_path: Path) -> None:
    result = read(flow_class(tmp_path, flow_source()))
    assert (result.job_name, result.project) == ("MyFlow", None)
    assert result.top_options == ()


@pytest.mark.parametrize(
    ("arguments", "branch", "name"),
    [
        pytest.param("", "user.tester", "atlas_user_tester_MyFlow", id="user"),
        pytest.param(", branch='fix_it'", "test.fix_it", "atlas_test_fix_it_MyFlow", id="branch"),
        pytest.param(", production=True", "prod", "atlas_prod_MyFlow", id="production"),
        pytest.param(
            ", branch='b', production=True", "prod.b", "atlas_prod_b_MyFlow", id="production branch"
        ),
    ],
)
def test_job_is_named_after_project_and_branch(
    arguments: str, branch: str, name: str, tmp_path: Path
) -> None:
    result = read(flow_class(tmp_path, flow_source(flow=f"@project(name='atlas'{arguments})")))
    assert (result.job_name, result.project) == (name, Project("atlas", branch))


def test_user_branches_of_similar_users_are_different_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = flow_class(tmp_path, flow_source(flow="@project(name='atlas')"))
    names = set()
    for user in ("ann_smith", "ann.smith", "ann-smith", "ann@smith", "ann+smith"):
        monkeypatch.setattr("metaflow.metaflow_config.USER", user)
        names.add(read(flow).job_name)
    assert len(names) == 5
    assert "atlas_user_ann_smith_MyFlow" in names


def test_given_options_are_those_that_differ_from_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = flow_class(tmp_path, flow_source())
    assert read(flow).given_options == ()
    monkeypatch.setenv("METAFLOW_DATASTORE_ROOT", "/somewhere")
    assert read(flow).given_options == ("--datastore-root=/somewhere",)


def test_inherited_steps_are_read(tmp_path: Path) -> None:
    source = flow_source(name="Base").replace('if __name__ == "__main__":\n    Base()\n', "")
    source += "class MyFlow(Base):\n    extra = Parameter('extra', default=1)\n"
    flow = read(flow_class(tmp_path, source))
    assert [step.name for step in flow.steps] == ["start", "end"]
    assert flow.name == "MyFlow"
    assert [parameter.name for parameter in flow.parameters] == ["extra"]
