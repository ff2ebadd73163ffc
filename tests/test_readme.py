"""The README's commands run, and what it shows of a generated file is what comes out."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import path_with_this_python

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS_TO_START = 120


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of the README, in order."""
    return [line for block in blocks("sh") for line in block.splitlines() if line]


FLOW = next(block for block in blocks("python") if block.startswith("# scores_flow.py"))
LIBRARY = next(block for block in blocks("python") if "import synthesize" in block)
NAMESPACE = next(block for block in blocks("python") if "import Flow, namespace" in block)
GENERATED = [block for block in blocks("python") if block not in (FLOW, LIBRARY, NAMESPACE)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the README's flow, in which `dagster create` has been run."""
    path = tmp_path_factory.mktemp("readme")
    (path / "scores_flow.py").write_text(FLOW, encoding="utf-8")
    (path / "metaflow-dagster").symlink_to(ROOT)
    assert run("python scores_flow.py dagster create", path).returncode == 0
    return path


def environment(directory: Path) -> dict[str, str]:
    """The test's environment with its Python first, and a Dagster home of its own."""
    home = directory / "dagster_home"
    home.mkdir(exist_ok=True)
    own = {"PATH": path_with_this_python(), "DAGSTER_HOME": str(home), "METAFLOW_USER": "reader"}
    return {**os.environ, **own}


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command),
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_flow_is_shown_with_its_generated_file(directory: Path) -> None:
    generated = (directory / "scoresflow_dagster.py").read_text(encoding="utf-8")
    assert len(GENERATED) == 2
    for block in GENERATED:
        assert block.strip() in generated


def test_library_example(directory: Path) -> None:
    script = LIBRARY + "print(text)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'RUN_TAGS: list[str] = ["team:search"]' in result.stdout


PLAIN = [one for one in commands() if not one.startswith(("dagster dev", "pip ", "make "))]


@pytest.mark.slow
@pytest.mark.parametrize("command", PLAIN)
def test_command(command: str, directory: Path) -> None:
    result = run(command, directory)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in commands() if one.startswith("pip ")])
def test_install_command(command: str, directory: Path) -> None:
    result = run(f"python -m {command} --dry-run --no-deps", directory)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("command", [one for one in commands() if one.startswith("make ")])
def test_make_command(command: str) -> None:
    result = run(command, ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_config_example(directory: Path) -> None:
    (config,) = blocks("yaml")
    (directory / "run.yaml").write_text(config, encoding="utf-8")
    command = "dagster job execute -f scoresflow_dagster.py -j ScoresFlow -c run.yaml"
    result = run(command, directory)
    assert result.returncode == 0, result.stderr
    assert "{'a': 2, 'is': 1, 'rose': 2}" in stdout_of_last_run(directory)


def stdout_of_last_run(directory: Path) -> str:
    script = NAMESPACE + "print(run['end'].task.stdout)"
    return run(f"python -c {shlex.quote(script)}", directory).stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in commands() if one.startswith("dagster dev")])
def test_development_server(command: str, directory: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for answer in served(f"{command} --host 127.0.0.1 --port {port}", directory, port):
        assert b"ScoresFlow" in answer


def served(command: str, directory: Path, port: int) -> Iterator[bytes]:
    """The jobs that the server lists, once it is up; the server is stopped after that."""
    with open(directory / "server.log", "wb") as log:
        server = subprocess.Popen(
            shlex.split(command),
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield jobs(port, time.monotonic() + SECONDS_TO_START)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def jobs(port: int, deadline: float) -> bytes:
    """What the server's GraphQL says of its jobs, waiting for it to answer with some."""
    query = (
        b'{"query": "{repositoriesOrError {... on RepositoryConnection {nodes {jobs {name}}}}}"}'
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", query, {"Content-Type": "application/json"}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                answer: bytes = response.read()
            if b'"jobs"' in answer:
                return answer
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
