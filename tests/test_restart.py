"""A webserver is restarted while a run goes on, which whoever waits for the run does not mind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.operated import (
    SECONDS,
    WORKSPACE,
    Server,
    answers,
    free_port,
    make_databases,
    new_place,
    running,
    until,
)

pytestmark = pytest.mark.slow


def test_webserver_is_restarted(tmp_path: Path) -> None:
    """Nothing happens to the run, and who waits for it, as by `trigger --wait`, waits on."""
    place = new_place(tmp_path)
    assert place.dagster("create", "definitions.py").returncode == 0
    make_databases(place)
    code_port, port = free_port(), free_port()
    (tmp_path / "workspace.yaml").write_text(WORKSPACE.format(port=code_port))
    code_server = f"dagster code-server start -f definitions.py -h 127.0.0.1 -p {code_port}"
    webserver = f"dagster-webserver -w workspace.yaml -h 127.0.0.1 -p {port}"
    server = Server(f"http://127.0.0.1:{port}")
    options = ["--url", server.url, "--city=Patient", "--my-count=1", "--wait"]
    # The daemon takes runs out of the queue into which the webserver puts them.
    with running(place, code_server), running(place, "dagster-daemon run -w workspace.yaml"):
        with running(place, webserver):
            until(lambda: answers(server))
            waiting = subprocess.Popen(
                [sys.executable, "operated_flow.py", "--quiet", "dagster", "trigger", *options],
                cwd=tmp_path,
                env=place.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            assert waiting.stdout is not None
            lines = iter(waiting.stdout.readline, "")
            assert any("work: 0 of 1 done, 1 running" in line for line in lines)
        assert not answers(server)
        assert waiting.poll() is None
        with running(place, webserver):
            until(lambda: answers(server))
            (tmp_path / "go").touch()
            rest, _ = waiting.communicate(timeout=SECONDS)
    assert waiting.returncode == 0, rest
    assert "work: 1 of 1 done" in rest.splitlines()
    assert rest.splitlines()[-1].endswith(" has succeeded.")
