"""Who may deploy a job, and to whom its runs belong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from metaflow_dagster.generated import MARK
from tests.unit.flows import flow_source

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Team:
    """People who deploy the same flow from one directory, each with a home of their own."""

    directory: Path

    @property
    def output(self) -> Path:
        """Where the flow is compiled to by default."""
        return self.directory / "myflow_dagster.py"

    @property
    def blob(self) -> Path:
        """Where the deployment is kept."""
        return self.directory / ".metaflow" / "mf.dagster" / "MyFlow"

    def create(
        self, user: str, *arguments: str, top: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `dagster create` as one of them."""
        home = {"METAFLOW_USER": user, "METAFLOW_HOME": str(self.directory / "homes" / user)}
        return subprocess.run(
            [sys.executable, "my_flow.py", "--quiet", *top, "dagster", "create", *arguments],
            cwd=self.directory,
            env={**os.environ, **home, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def deployed(self, user: str, *arguments: str) -> str:
        """The output of a deployment that succeeds."""
        result = self.create(user, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def refused(
        self, user: str, *arguments: str, top: tuple[str, ...] = (), **environment: str
    ) -> str:
        """What a user is told whose deployment is refused, which leaves everything as it was."""
        before = contents(self.directory)
        result = self.create(user, *arguments, top=top, **environment)
        assert (result.returncode, result.stdout) == (1, "")
        assert "Traceback" not in result.stderr
        assert contents(self.directory) == before
        return result.stderr

    def deployment(self) -> tuple[str, str]:
        """Owner and token, as the datastore has them."""
        blob = json.loads(self.blob.read_text())
        return blob["owner"], blob["production_token"]


def contents(directory: Path) -> dict[Path, bytes]:
    """The files below a directory, without what Python has compiled."""
    return {
        path: path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture
def team(tmp_path: Path) -> Team:
    (tmp_path / ".metaflow").mkdir()
    (tmp_path / "my_flow.py").write_text(flow_source(), encoding="utf-8")
    return Team(tmp_path)


def test_a_flow_is_deployed_by_its_first_user_and_by_who_has_the_token(team: Team) -> None:
    told = team.deployed("ann")
    owner, token = team.deployment()
    assert owner == "ann"
    assert f'    namespace("production:{token}")\n' in told
    assert f"    --authorize {token}\n" in told
    text = team.output.read_text()
    assert token not in text
    assert "ann" not in text.split()

    message = team.refused("bob")
    assert "Incorrect production token" in message
    assert "deployed by the user ann" in message
    assert "--authorize TOKEN" in message
    assert token not in message

    team.deployed("bob", "--authorize", f"production:{token}")
    assert team.deployment() == ("bob", token)
    assert team.output.read_text() == text

    # Both have the token by now, so neither has to give it.
    team.deployed("ann")
    assert team.deployment() == ("ann", token)
    team.deployed("bob", "--generate-new-token")
    owner, other = team.deployment()
    assert owner == "bob"
    assert other != token
    assert "deployed by the user bob" in team.refused("ann")
    assert team.output.read_text() == text


def test_what_only_shows_needs_neither_token_nor_datastore(team: Team) -> None:
    team.deployed("ann")
    (team.directory / "file").touch()
    for arguments in (["--check"], ["--show-plan"]):
        assert team.create("bob", *arguments).returncode == 0
    unreachable = f"--datastore-root={team.directory}/file"
    assert team.create("bob", "--show-plan", top=(unreachable,)).returncode == 0
    assert team.deployment()[0] == "ann"


@pytest.mark.parametrize(
    ("arguments", "top", "message"),
    [
        pytest.param(["--new-token="], (), "--new-token '' is malformed", id="empty token"),
        pytest.param(["--tag= "], (), "--tag ' ' is malformed", id="option of the compiler"),
        pytest.param(["nowhere/a.py"], (), "does not exist", id="no directory"),
        pytest.param(
            [], ("--datastore-root=my_flow.py",), "my_flow.py/mf.dagster/MyFlow", id="no datastore"
        ),
    ],
)
def test_refused(arguments: list[str], top: tuple[str, ...], message: str, team: Team) -> None:
    team.output.write_text(f"{MARK}\nold")
    assert message in team.refused("ann", *arguments, top=top)


def test_file_that_cannot_be_written_is_not_deployed(team: Team) -> None:
    (team.directory / "sub").symlink_to("/proc/self")  # which not even root can write to
    assert "cannot be written" in team.refused("ann", "sub/a.py")


def test_the_deployment_is_where_the_ops_will_look(team: Team) -> None:
    other = team.directory / "jobs"
    (other / ".metaflow").mkdir(parents=True)
    told = team.create("ann", "jobs/job.py")
    assert told.returncode == 0, told.stderr
    assert team.deployment()[0] == "ann"

    # Wherever the command is given, which has a datastore of its own.
    command = [sys.executable, "../my_flow.py", "--quiet", "dagster", "create", "job.py"]
    environment = {**os.environ, "METAFLOW_USER": "bob", "METAFLOW_HOME": str(team.directory)}
    told = subprocess.run(command, cwd=other, env=environment, capture_output=True, text=True)
    assert "deployed by the user ann" in told.stderr
    assert not (other / ".metaflow" / "mf.dagster").exists()


def test_token_that_cannot_be_kept_at_home_is_no_obstacle(team: Team) -> None:
    (team.directory / "homes").mkdir()
    (team.directory / "homes" / "ann").touch()
    told = team.deployed("ann")
    assert "could not be kept in Metaflow's home" in told
    assert team.deployment()[0] == "ann"
