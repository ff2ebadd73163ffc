"""What the pages say of commands and of what does not fit in a block that is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from metaflow_dagster.cli.create import create
from metaflow_dagster.executors import NAMED
from tests.docs.pages import ROOT, block_of, file_of
from tests.docs.reader import Reader

OPTIONS = (ROOT / "docs" / "create.md").read_text(encoding="utf-8")
WORKFLOW = block_of("docs/ci.md", "GitHub Actions", "yaml")
HOOKS = block_of("docs/ci.md", "pre-commit", "yaml")


def test_table_of_options_is_complete() -> None:
    options = {name for one in create.params if not getattr(one, "hidden", 0) for name in one.opts}
    rows = re.findall(r"^\| (`[^|]*) \|", OPTIONS, re.M)
    in_table = {name for row in rows for name in re.findall(r"`(--[\w-]+|FILE)", row)}
    assert in_table == {"FILE" if name == "file" else name for name in options}


def test_table_of_options_names_all_executors() -> None:
    (row,) = re.findall(r"^\| `--executor NAME`.*$", OPTIONS, re.M)
    assert {name for name in NAMED if f"`{name}`" not in row} == set()


@pytest.mark.slow
def test_workflow_and_hook_for_ci(tmp_path: Path) -> None:
    (job,) = yaml.safe_load(WORKFLOW.text)["jobs"].values()
    (repository,) = yaml.safe_load(HOOKS.text)["repos"]
    (hook,) = repository["hooks"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)
    with Reader(tmp_path) as reader:
        reader.exported.update(job["env"])
        for name in ("flows", "defs"):
            (tmp_path / name).mkdir()
        (tmp_path / "flows" / "scores_flow.py").write_text(file_of("README.md", "scores_flow.py"))
        (tmp_path / "requirements.txt").write_text("./metaflow-dagster\n")
        assert "scoresflow_dagster.py" in reader.run(commands[1], fails=True)
        reader.run("metaflow-dagster create flows/*.py --output-dir defs")
        for command in (*commands, hook["entry"]):
            reader.run(command)
        assert re.match(hook["files"], "defs/scoresflow_dagster.py")
        assert re.match(hook["files"], "flows/scores_flow.py")
