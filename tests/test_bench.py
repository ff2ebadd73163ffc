"""The benchmark, as far as a test can have it: that it measures and says so, and never how much."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import parser
from tests.bench.peer import ROOT
from tests.docs.pages import block_of

COMMANDS = block_of("docs/performance.md", "Performance", "sh").text.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_documentation_are_understood(command: str) -> None:
    """They take up to a quarter of an hour."""
    words = shlex.split(command, comments=True)
    make = ["make", "--no-print-directory", "-n", *words[1:]]
    said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    arguments = shlex.split(said.stdout.splitlines()[-1].partition("-m tests.bench")[2])
    parser().parse_args(arguments)
    assert arguments == shlex.split(" ".join(words[2:]).removeprefix("ARGS="))


@pytest.mark.slow
def test_the_smallest_flow_is_measured(tmp_path: Path) -> None:
    numbers, tables = tmp_path / "numbers.json", tmp_path / "tables.md"
    chosen = ["--flow=foreach-8", "--runner=native", "--runner=default", "--repetitions=1"]
    files = [f"--json={numbers}", f"--markdown={tables}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *chosen, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[2/2] foreach-8 default: " in done.stderr
    assert tables.read_text() in done.stdout
    series = json.loads(numbers.read_text())["series"]
    assert [(each["work"], each["runner"], len(each["values"])) for each in series] == [
        ("foreach-8", "native", 1),
        ("foreach-8", "default", 1),
    ]
    lines = [line.split() for line in tables.read_text().splitlines()]
    runs = [line for line in lines if line[1:2] == ["foreach-8"]]
    assert [line[5] for line in runs] == ["native", "default"]
