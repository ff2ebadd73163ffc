from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metaflow.exception import MetaflowUnknownUser
from metaflow.plugins.airflow.airflow_cli import resolve_dag_name
from metaflow.plugins.aws.step_functions.production_token import store_token

from metaflow_dagster.deployment import (
    Deployment,
    Deployments,
    IncorrectProductionToken,
    NotDeployed,
    TokenOptions,
    deployments,
    next_deployment,
    token_prefix,
)
from metaflow_dagster.frontend import library_session, read_flow
from metaflow_dagster.ir.flow import Backend, Project
from metaflow_dagster.runtime.store import store_of
from tests.unit.flows import flow_class, flow_source
from tests.unit.samples import settings_of

NOTHING = TokenOptions()
PROJECT = Project("atlas", "prod")


@pytest.fixture(autouse=True)
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for tokens."""
    home = tmp_path / "tokens"
    monkeypatch.setenv("METAFLOW_TOKEN_HOME", str(home))
    return home


def be(user: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaflow.metaflow_config.USER", user)
    for variable in ("SUDO_USER", "USERNAME", "USER"):
        monkeypatch.delenv(variable, raising=False)


def following(
    previous: Deployment | None, options: TokenOptions = NOTHING, project: Project | None = None
) -> Deployment:
    return next_deployment(previous, options, "MyJob", project)


def test_first_deployment_has_a_token_of_its_name() -> None:
    first = following(None)
    assert first.owner == "tester"
    assert first.production_token.startswith("myjob-0-")
    assert first.namespace == f"production:{first.production_token}"
    assert following(None) == first


def test_flows_of_a_branch_share_a_token() -> None:
    one = next_deployment(None, NOTHING, "atlas_prod_OneFlow", PROJECT)
    other = next_deployment(None, NOTHING, "atlas_prod_OtherFlow", PROJECT)
    assert one == other
    assert one.production_token.startswith(f"{token_prefix('any', PROJECT)}-0-")


@pytest.mark.parametrize("arguments", ["", ", branch='b'", ", production=True"])
def test_prefix_of_a_project_is_that_of_metaflow(arguments: str, tmp_path: Path) -> None:
    flow = flow_class(tmp_path, flow_source(flow=f"@project(name='atlas'{arguments})"))
    with library_session(flow) as session:
        _, prefix, _ = resolve_dag_name(None)
        assert token_prefix("any", read_flow(session).project) == prefix


def test_deployer_needs_no_token() -> None:
    first = following(None)
    assert following(first) == first
    assert following(first, TokenOptions(authorize="wrong")) == first


@pytest.mark.parametrize("authorize", [None, "", "wrong", "production:", "production:wrong"])
def test_others_are_refused(authorize: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = following(None)
    be("bob", monkeypatch)
    for options in (
        TokenOptions(authorize),
        TokenOptions(authorize, generate_new_token=True),
        TokenOptions(authorize, new_token="mine"),
    ):
        with pytest.raises(IncorrectProductionToken) as raised:
            following(first, options)
        assert "by the user *tester*" in raised.value.message
        assert "--authorize TOKEN" in raised.value.message
        assert first.production_token not in raised.value.message


@pytest.mark.parametrize("prefix", ["", "production:"])
def test_others_are_authorized_by_the_token(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = following(None)
    be("bob", monkeypatch)
    second = following(first, TokenOptions(prefix + first.production_token))
    assert second == Deployment("bob", first.production_token)


def test_others_are_authorized_by_the_token_they_have_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = following(None)
    be("bob", monkeypatch)
    store_token("myjob", first.production_token)
    assert following(first).owner == "bob"


def test_kept_token_that_cannot_be_read(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = following(None)
    be("bob", monkeypatch)
    tokens.mkdir()
    (tokens / "myjob").write_text("no JSON")
    with pytest.raises(NotDeployed, match="Give the token with --authorize"):
        following(first)
    assert following(first, TokenOptions(first.production_token)).owner == "bob"


def test_user_unknown_to_metaflow_cannot_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    be(None, monkeypatch)
    with pytest.raises(MetaflowUnknownUser):
        following(None)


@pytest.mark.parametrize("previous", [None, Deployment("tester", "old")])
@pytest.mark.parametrize("given_token", ["mine", "production:mine"])
def test_new_token(previous: Deployment | None, given_token: str) -> None:
    assert following(previous, TokenOptions(new_token=given_token)).production_token == "mine"


@pytest.mark.parametrize("token", ["", "production:", " ", "a\nb", "a\0", "\udc80", "x" * 490])
def test_malformed_token(token: str) -> None:
    with pytest.raises(NotDeployed, match="is malformed"):
        following(None, TokenOptions(new_token=token))


def test_flow_of_a_project_is_given_no_token() -> None:
    with pytest.raises(NotDeployed, match="--new-token is not supported for @projects"):
        following(None, TokenOptions(new_token="mine"), PROJECT)


@pytest.mark.parametrize("project", [None, PROJECT])
def test_generated_tokens_are_new_ones(project: Project | None) -> None:
    seen = [following(None, project=project)]
    for _ in range(3):
        seen.append(following(seen[-1], TokenOptions(generate_new_token=True), project))
    assert len({each.production_token for each in seen}) == 4
    prefix = token_prefix("MyJob", project)
    assert [each.production_token[: len(prefix) + 3] for each in seen] == [
        f"{prefix}-{i}-" for i in range(4)
    ]


def test_no_token_is_generated_after_a_given_one() -> None:
    with pytest.raises(NotDeployed, match="--new-token to make a new namespace"):
        following(Deployment("tester", "mine"), TokenOptions(generate_new_token=True))


@pytest.fixture
def place(tmp_path: Path) -> Deployments:
    return deployments(
        Backend(datastore_root=str(tmp_path / "store")), str(tmp_path / "a.py"), "MyJob"
    )


def test_stored_deployment_is_replaced(place: Deployments) -> None:
    assert place.load() is None
    for stored in (Deployment("ann ü", "t-0"), Deployment("bob", "t-0"), Deployment("bob", "t-1")):
        place.store(stored)
        assert place.load() == stored


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(texts, texts)
def test_deployment_survives_the_store(owner: str, token: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = deployments(Backend(datastore_root=directory), "/a.py", "MyJob")
        place.store(Deployment(owner, token))
        assert place.load() == Deployment(owner, token)


@pytest.mark.parametrize("blob", ["", "[]", "{}", '{"owner": "a"}', "5"])
def test_blob_of_somebody_else(blob: str, place: Deployments) -> None:
    file = Path(str(place))
    file.parent.mkdir(parents=True)
    file.write_text(blob)
    with pytest.raises(NotDeployed, match="does not say who deployed job MyJob") as raised:
        place.load()
    assert str(file) in raised.value.message


def test_datastore_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = deployments(Backend(datastore_root=f"{tmp_path}/file"), str(tmp_path / "a.py"), "MyJob")
    with pytest.raises(NotDeployed, match="cannot be written"):
        place.store(Deployment("ann", "token"))
    (tmp_path / "mf.dagster" / "MyJob").mkdir(parents=True)
    place = deployments(Backend(datastore_root=str(tmp_path)), str(tmp_path / "a.py"), "MyJob")
    with pytest.raises(NotDeployed, match="cannot be read"):
        place.load()


BACKENDS = [
    pytest.param(Backend(), "root/.metaflow", id="nearest directory upwards"),
    pytest.param(Backend(local_sysroot="{tmp}/other"), "other/.metaflow", id="configured"),
    pytest.param(Backend(datastore_root="{tmp}/given"), "given", id="given"),
]


@pytest.mark.parametrize(("backend", "root"), BACKENDS)
def test_store_is_the_one_in_which_the_ops_look(
    backend: Backend, root: str, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        name: (getattr(backend, name) or "").format(tmp=tmp_path) or None
        for name in ("datastore_root", "local_sysroot")
    }
    inner = tmp_path / "root" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "root" / ".metaflow").mkdir()
    (tmp_path / "root" / "a" / ".metaflow").touch()
    place = deployments(Backend(**values), str(inner / "a.py"), "MyJob")
    assert str(place) == f"{tmp_path}/{root}/mf.dagster/MyJob"

    sysroot = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": values["local_sysroot"]}
    flow = settings_of(
        file=str(inner / "a.py"),
        datastore_root=f"{tmp_path}/given" if values["datastore_root"] else None,
        variables=sysroot if values["local_sysroot"] else {},
    )
    assert store_of(flow) == place.datastore
