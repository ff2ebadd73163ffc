from __future__ import annotations

import builtins
import keyword

import pytest
from dagster._core.definitions.utils import DISALLOWED_NAMES, is_valid_name
from hypothesis import example, given
from hypothesis import strategies as st

from metaflow_dagster.ir.flow import End, Linear
from metaflow_dagster.names import (
    DAGSTER_RESERVED,
    Scope,
    ascii_name,
    is_dagster_name,
    project_job_name,
)
from metaflow_dagster.planner.op_names import OpNames, branch_names, input_names
from tests.unit.samples import flow_of

# Names as Python has them: its parser brings identifiers into this form of Unicode.
identifiers = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    str.isidentifier
)
some_names = st.lists(
    st.one_of(identifiers, st.sampled_from(["é", "_u00e9_", "a", "a_", "op_a", "gather_a"])),
    min_size=1,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("my-job", id="dash"),
        pytest.param("größe", id="not ASCII"),
        pytest.param("a b", id="blank"),
        pytest.param("a\n", id="line end"),
        pytest.param("config", id="reserved by Dagster"),
        pytest.param("class", id="keyword"),
        pytest.param("None", id="constant"),
    ],
)
def test_refused_by_dagster(text: str) -> None:
    assert not is_dagster_name(text)


@pytest.mark.parametrize("text", ["a", "_", "1st", "Config", "A_1", "match"])
def test_taken_by_dagster(text: str) -> None:
    assert is_dagster_name(text)


@given(st.one_of(st.text(), st.from_regex(r"\w+\Z"), st.sampled_from(sorted(DISALLOWED_NAMES))))
@example("a\n")
def test_agrees_with_dagster(text: str) -> None:
    # Dagster's `$` also matches before a line end, after which it cannot use the name.
    assert is_dagster_name(text) == (is_valid_name(text) and not text.endswith("\n"))


def test_reserved_names_are_those_of_dagster() -> None:
    assert DISALLOWED_NAMES - set(keyword.kwlist) == DAGSTER_RESERVED


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("plain_1", "plain_1", id="as it is"),
        pytest.param("é", "_u00e9_", id="accent"),
        pytest.param("数x", "_u6570_x", id="ideograph"),
        pytest.param("\U0001d4b3", "_u1d4b3_", id="five digits"),
        pytest.param("my.flow", "my_u002e_flow", id="dot of a project"),
    ],
)
def test_ascii_name(text: str, name: str) -> None:
    assert ascii_name(text) == name


@given(identifiers)
def test_ascii_name_has_only_characters_dagster_takes(text: str) -> None:
    assert is_dagster_name("x" + ascii_name(text))


@pytest.mark.parametrize(
    ("flow", "job"),
    [
        pytest.param("ads.prod.TrainFlow", "ads_prod_TrainFlow", id="production"),
        pytest.param("ads.user.ann.TrainFlow", "ads_user_ann_TrainFlow", id="user"),
        pytest.param("my_ads.prod.fix_it.TrainFlow", "my_ads_prod_fix_it_TrainFlow", id="branch"),
        pytest.param("ads.test.fix.Train_Flow", "ads_test_fix_Train_Flow", id="underscore in flow"),
        pytest.param("ads.user.ann_smith.F", "ads_user_ann_smith_F", id="underscore in user"),
        pytest.param("ads.user.ann.smith.F", "ads_user_ann_smith_F_7ef4b1f9", id="dot in user"),
        pytest.param("ads.user.ann-smith.F", "ads_user_ann_smith_F_a7d90644", id="dash in user"),
        pytest.param("a.test.test_b.F", "a_test_test_b_F", id="branch that looks like another"),
        pytest.param("a_test.test.b.F", "a_test_test_b_F_031bed6a", id="project that does"),
        pytest.param("ads.prod.train_flow", "ads_prod_train_flow_4e60d759", id="flow that does"),
        pytest.param("ads.prod.Größe", "ads_prod_Gr__e_1168ceee", id="not ASCII"),
    ],
)
def test_job_of_a_project(flow: str, job: str) -> None:
    assert project_job_name(flow) == job


# Few characters, so that many come to the same name without their separators.
_part = st.from_regex(r"(a|_|test|prod|user){1,4}", fullmatch=True)
_user = st.from_regex(r"(a|_|\.|-|@|test|prod|user){1,5}", fullmatch=True)
_branch = st.one_of(
    st.just("prod"),
    st.builds("{}.{}".format, st.sampled_from(["prod", "test"]), _part),
    st.builds("user.{}".format, _user),
)
_flow = st.from_regex(r"(a|_|A|prod|test|é){1,4}", fullmatch=True)
_project_flows = st.builds("{}.{}.{}".format, _part, _branch, _flow)


@given(_project_flows, st.text("._-aé@", max_size=12))
def test_jobs_of_projects_are_distinct(flow: str, other: str) -> None:
    # The same letters with other separators, which is where names could come together.
    separators = iter(other)
    twin = "".join(next(separators, each) if each in "._-@" else each for each in flow)
    assert (project_job_name(twin) == project_job_name(flow)) == (twin == flow)
    assert is_dagster_name(project_job_name(flow))


@pytest.mark.slow
@given(st.lists(_project_flows, unique=True, min_size=2, max_size=30))
def test_jobs_of_many_projects_are_distinct(flows: list[str]) -> None:
    assert len(set(map(project_job_name, flows))) == len(flows)


@given(some_names)
def test_nodes_are_distinct_and_valid(steps: list[str]) -> None:
    flow = flow_of({step: Linear("end") for step in steps} | {"end": End()})
    names = OpNames(flow, "Job")
    nodes = [names.of_step(step.name) for step in flow.steps]
    nodes += [names.glue(purpose, step) for purpose in ("gather", "regroup") for step in steps]
    definitions = [names.definition(node) for node in nodes]
    assert len(set(nodes)) == len(nodes)
    assert len(set(definitions)) == len(definitions)
    assert all(map(is_dagster_name, [*nodes, *definitions]))


@pytest.mark.parametrize(
    ("parents", "names"),
    [
        pytest.param(("load", "fit"), ("load", "fit"), id="after the steps"),
        pytest.param(("context",), ("from_context",), id="reserved"),
        pytest.param(("input", "from_input"), ("from_input", "from_input_"), id="both"),
        pytest.param(("é", "_u00e9_"), ("_u00e9_", "_u00e9__"), id="same in ASCII"),
    ],
)
def test_input_names(parents: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert input_names(parents) == names


@pytest.mark.parametrize(
    ("targets", "outputs"),
    [
        pytest.param(("left", "right"), ("left", "right"), id="after the steps"),
        pytest.param(("output",), ("to_output",), id="reserved"),
        pytest.param(("_hidden",), ("to__hidden",), id="no field of a namedtuple"),
        pytest.param(("é",), ("to__u00e9_",), id="not ASCII"),
        pytest.param(("type", "to_type"), ("to_type", "to_type_"), id="both"),
    ],
)
def test_branch_names(targets: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    assert branch_names(targets) == tuple(zip(targets, outputs, strict=True))


@given(some_names)
def test_inputs_and_branches_are_distinct_and_valid(steps: list[str]) -> None:
    for names in (input_names(tuple(steps)), [name for _, name in branch_names(tuple(steps))]):
        assert len(set(names)) == len(steps)
        assert all(name.isidentifier() and is_dagster_name(name) for name in names)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        pytest.param("free", "free", id="free"),
        pytest.param("taken", "taken_", id="taken"),
        pytest.param("class", "class_", id="keyword"),
        pytest.param("1st", "_1st", id="no identifier"),
        pytest.param("True", "True_", id="constant"),
    ],
)
def test_scope_gives_the_nearest_free_name(wish: str, name: str) -> None:
    scope = Scope(["taken"])
    assert scope.claim(wish) == name
    assert name in scope


@given(st.lists(st.from_regex(r"[A-Za-z0-9_]{1,3}", fullmatch=True)))
def test_scope_never_gives_a_name_twice(wishes: list[str]) -> None:
    scope = Scope(dir(builtins))
    names = [scope.claim(wish) for wish in wishes]
    assert len(set(names)) == len(names)
    assert not set(names) & set(dir(builtins))
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in names)


def test_inner_scope_leaves_the_outer_as_it_is() -> None:
    outer = Scope(["a"])
    inner = outer.inner()
    assert [inner.claim("a"), inner.claim("b")] == ["a_", "b"]
    assert "b" not in outer


def test_what_is_taken_outside_is_taken_inside() -> None:
    outer = Scope()
    inner = outer.inner()
    outer.claim("a")
    assert inner.claim("a") == "a_"
