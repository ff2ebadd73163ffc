"""Parameters on the command line of `dagster trigger`, and as Dagster's configuration."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metaflow._vendor import click
from metaflow.parameters import add_custom_parameters, flow_context

from metaflow_dagster.cli.parameters import ParametersCommand
from metaflow_dagster.frontend import Session, library_session
from metaflow_dagster.operate.parameters import resumed_config
from tests.unit.flows import flow_class, flow_source

BODY = """
city = Parameter("city", required=True)
count = Parameter("my-count", type=int, default=2)
price = Parameter("price", default=1.5)
is_open = Parameter("open", default=True)
options = Parameter("options", type=JSONType, default="{}")
notes = IncludeFile("notes")
level = Parameter("level", type=click.IntRange(1, 9), default=1)
late = Parameter("late", default=lambda context: 1 / 0)
wait = Parameter("wait", default="no")
setting = Config("setting", default_value="{}")
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_LOCAL", str(tmp_path))
    with library_session(flow_class(tmp_path, flow_source(body=BODY))) as session:
        yield session


def parsed(session: Session, *arguments: str) -> dict[str, Any]:
    """What the function of a command gets for arguments."""
    with flow_context(type(session.state.flow)):

        @add_custom_parameters(deploy_mode=False)
        @click.command(cls=ParametersCommand)
        @click.option("--run-param", "run_params", multiple=True)
        @click.option("--wait/--no-wait", default=False)
        def command(**given: Any) -> dict[str, Any]:
            return given

        context = command.make_context("trigger", list(arguments), obj=session.state)
        result: dict[str, Any] = command.invoke(context)
        return result


def test_parameters_have_the_types_of_the_config_class(session: Session) -> None:
    arguments = "--city 5 --my-count 3 --price 2 --open False --level 7"
    given = parsed(session, *arguments.split(), "--options", '{"a": [1, null]}')
    assert given["parameters"] == {
        "city": "5",
        "my-count": 3,
        "price": 2.0,
        "open": False,
        "level": "7",
        "options": {"a": [1, None]},
    }
    assert type(given["parameters"]["price"]) is float


def test_what_is_not_given_is_left_out(session: Session) -> None:
    assert parsed(session, "--city", "Ulm")["parameters"] == {"city": "Ulm"}


def test_parameters_may_be_given_as_pairs(session: Session) -> None:
    arguments = ("--run-param", "city=a=b", "--run-param=my-count=4", "--run-param", "open=True")
    assert parsed(session, *arguments)["parameters"] == {
        "city": "a=b",
        "my-count": 4,
        "open": True,
    }


def test_option_of_the_command_hides_a_parameter(session: Session) -> None:
    given = parsed(session, "--city=x", "--wait", "--run-param=wait=yes")
    assert given["parameters"] == {"city": "x", "wait": "yes"}
    assert given["wait"] is True
    assert parsed(session, "--city=x")["parameters"] == {"city": "x"}


def test_file_is_stored(session: Session, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some notes")
    given = parsed(session, "--city=x", "--notes=notes.txt")
    descriptor = json.loads(given["parameters"]["notes"])
    stored = Path(descriptor["url"].removeprefix("local://"))
    assert gzip.decompress(stored.read_bytes()) == b"some notes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--city"),
        (["--city=x", "--my-count=many"], "many is not a valid integer"),
        (["--city=x", "--options={"], "not a valid JSON"),
        (["--city=x", "--level=10"], "10 is not in the valid range"),
        (["--city=x", "--run-param=open"], "PARAMETER=VALUE"),
        (["--city=x", "--run-param=nope=1"], "parameters are: city, late"),
        (["--city=x", "--run-param=my-count=x"], "x is not a valid integer"),
        (["--city=x", "more"], "unexpected extra argument (more)"),
        (["--city=x", "--nope"], "no such option: --nope"),
    ],
)
def test_refused(arguments: list[str], message: str, session: Session) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(session, *arguments)
    assert message in caught.value.format_message()


def test_values_of_another_run(session: Session) -> None:
    values = {
        "city": ["no", "text"],
        "my-count": 3,
        "notes": "the text of a file",
        "options": {"at": Path("/x")},
        "open": None,
        "gone": 1,
    }
    assert resumed_config(session.state.flow, values) == {
        "city": "['no', 'text']",
        "my-count": 3,
        "notes": "(as in the run that is resumed)",
        "options": {"at": "/x"},
    }
