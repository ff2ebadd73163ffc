"""Commands and runs with hostile names, texts and values, in processes as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from metaflow._vendor.click.testing import CliRunner, Result

from metaflow_dagster.cli.console import main
from tests.flowgen import examples
from tests.hostile import EVALUATED, nothing_evaluated, texts
from tests.support import checked, use_client
from tests.unit.flows import flow_source

pytestmark = pytest.mark.slow

HOSTILE = f"""'"$(touch {EVALUATED})`touch {EVALUATED}`\\ ; touch {EVALUATED} {{}}%s"""
CONTROL = "\n\x0c\x1b\u2028\ufeff"
NO_TEXT = os.fsdecode(b"\xff")

FLOW = f'''
from metaflow import FlowSpec, Parameter, environment, step
from metaflow.parameters import JSONType


class HostileFlow(FlowSpec):
    """{HOSTILE!a}"""

    text = Parameter("text", help={HOSTILE + CONTROL!a}, default="")
    data = Parameter("data", type=JSONType, default={{"env": "HOME"}})
    late = Parameter("late", type=JSONType, default={'"' + "[" * 99 + '"'!a})

    @environment(vars={{"NAME": {HOSTILE + CONTROL + NO_TEXT!a}}})
    @step
    def start(self):
        import os
        self.got = [self.text, self.data, self.late, os.environ["NAME"]]
        self.next(self.end)

    @step
    def end(self):
        with open("got", "w") as file:
            file.write(ascii(self.got))


if __name__ == "__main__":
    HostileFlow()
'''


def run_command(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a command of the flow's file."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env={**os.environ, "DAGSTER_HOME": str(directory / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        errors="replace",
        timeout=120,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of an odd name, with a flow of a name that is not even text."""
    made = tmp_path_factory.mktemp("odd") / f"{HOSTILE}\n"
    made.mkdir()
    (made / ".metaflow").mkdir()
    (made / "home").mkdir()
    (made / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (made / f"-c {HOSTILE}{NO_TEXT}\n.py").write_text(FLOW)
    result = run_command(
        made, flow_file(made), "dagster", "create", f"--tag={HOSTILE}", "--", output(made)
    )
    assert result.returncode == 0, result.stderr
    return made


def flow_file(directory: Path) -> str:
    return os.path.join(os.curdir, f"-c {HOSTILE}{NO_TEXT}\n.py")


def output(directory: Path) -> str:
    return f"-o {HOSTILE}\n.py"


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        pytest.param(HOSTILE + CONTROL + NO_TEXT, '{"$(x)": "`x`"}', {"$(x)": "`x`"}, id="quotes"),
        pytest.param(
            '{"env": "HOME"}',
            '"{\\"env\\": \\"\\ud800\\"}"',
            '{"env": "\ud800"}',
            id="JSON in JSON",
        ),
    ],
)
def test_values_reach_the_steps_as_they_are(
    directory: Path, text: str, data: str, value: object
) -> None:
    with nothing_evaluated(directory):
        result = run_command(
            directory,
            flow_file(directory),
            "dagster",
            "trigger",
            f"--definitions-file={output(directory)}",
            "--wait",
            f"--run-id-file={directory / 'run-id'}",
            f"--text={text}",
            f"--data={data}",
        )
        assert result.returncode == 0, result.stdout + result.stderr
    got = (directory / "got").read_text()
    assert got == ascii([text, value, "[" * 99, HOSTILE + CONTROL + NO_TEXT])
    use_client(directory)
    from metaflow import Run

    assert HOSTILE in Run(f"HostileFlow/{(directory / 'run-id').read_text()}").user_tags


def test_command_of_the_header_makes_the_same_file(directory: Path) -> None:
    before = (directory / output(directory)).read_text()
    lines = before.splitlines()
    command = "\n".join(line[1:] for line in lines[4 : lines.index("#", 4)])
    with nothing_evaluated(directory):
        checked(
            ["bash", "-c", command], directory, PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin"
        )
    assert (directory / output(directory)).read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with=retry:times=$(touch x)"], "Metaflow cannot add --with 'retry:times=$(touch x)'"),
        (["--namespace=" + "x" * 501], "has 501 characters"),
        (["--origin-run-id=dagster-../x"], "is not the id of a run that Dagster made"),
    ],
)
def test_refused_compilation_leaves_the_file(
    directory: Path, arguments: list[str], message: str
) -> None:
    before, names = (directory / output(directory)).read_bytes(), set(os.listdir(directory))
    result = run_command(
        directory, flow_file(directory), "dagster", "create", *arguments, "--", output(directory)
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert (directory / output(directory)).read_bytes() == before
    assert set(os.listdir(directory)) == names


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", os.fsdecode(b"dagster-\xff")],
        ["resume", "--run-id=../../x"],
        ["trigger", "--definitions-file=" + "x" * 300],
        ["delete", "--definitions-file=" + "x" * 300],
        ["trigger", "--run-param=$(touch EVALUATED)=1"],
    ],
)
def test_refused_commands(directory: Path, arguments: list[str]) -> None:
    with nothing_evaluated(directory):
        result = run_command(directory, flow_file(directory), "--quiet", "dagster", *arguments)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def create(flow: str, directory: Path) -> Result:
    """Run `metaflow-dagster create`."""
    return CliRunner(mix_stderr=False).invoke(
        main, ["create", f"--output-dir={directory}", "--", flow]
    )


@examples(4)
@given(st.one_of(st.binary(max_size=60), texts.map(lambda one: one.encode("utf-8", "replace"))))
@example(b"")
@example(b"1 / 0  # '$(touch EVALUATED)'")
@example(b"raise SystemExit('a\xff')")
@example(b"import os; os._exit(0)")
def test_what_is_no_flow_is_not_compiled(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    directory = tmp_path_factory.mktemp("flows")
    (directory / "flow.py").write_bytes(content)
    with nothing_evaluated(directory):
        result = create("flow.py", directory / "defs")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: flow.py is not compiled:\n    ")
    assert result.stderr.endswith("No file was changed.\n")
    assert "metaflow_dagster" not in result.stderr
    assert os.listdir(directory) == ["flow.py"]


@pytest.mark.parametrize(
    "name", [f"-cimport os; os.mkdir('{EVALUATED}')#.py", "-m", f"{NO_TEXT}.py", "x" * 300]
)
def test_name_of_a_flow_is_no_code(tmp_path: Path, name: str) -> None:
    with nothing_evaluated(tmp_path):
        result = create(name, tmp_path / "defs")
    assert result.exit_code == 1
    assert "can't open file" in result.stderr
    assert os.listdir(tmp_path) == []


def test_flow_whose_name_begins_with_a_dash(tmp_path: Path) -> None:
    (tmp_path / "-c.py").write_text(flow_source())
    with nothing_evaluated(tmp_path):
        result = create("-c.py", tmp_path / "defs")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "defs" / "myflow_dagster.py").exists()


def test_output_that_cannot_be_replaced_is_told(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(flow_source())
    (tmp_path / "defs").mkdir()
    os.mkfifo(tmp_path / "defs" / "definitions.py")
    (tmp_path / "defs" / "myflow_dagster.py").write_text("mine")
    with nothing_evaluated(tmp_path):
        result = create("flow.py", tmp_path / "defs")
    assert result.exit_code == 1
    assert "myflow_dagster.py was not written by this command" in result.stderr
    assert (tmp_path / "defs" / "myflow_dagster.py").read_text() == "mine"
    assert "definitions.py was not written by this command" in result.stderr
