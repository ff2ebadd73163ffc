"""What the pages say of commands and of what does not fit in a block that is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaflow_dagster.cli.backfill import backfill
from metaflow_dagster.cli.create import create
from metaflow_dagster.cli.delete import delete
from metaflow_dagster.cli.list_deployed import list_deployed
from metaflow_dagster.cli.list_runs import list_runs
from metaflow_dagster.cli.location import create as create_many
from metaflow_dagster.cli.resume import resume
from metaflow_dagster.cli.status import status
from metaflow_dagster.cli.suspend import suspend
from metaflow_dagster.cli.terminate import terminate
from metaflow_dagster.cli.trigger import trigger
from metaflow_dagster.executors import NAMED
from metaflow_dagster.options import Surface, flag_of, options_of
from tests.docs.pages import ROOT, block_of, file_of
from tests.docs.reader import Reader
from tests.options_doc import tables, whole

OPERATING = (
    trigger,
    backfill,
    resume,
    status,
    terminate,
    list_deployed,
    list_runs,
    delete,
    suspend,
)
OPTIONS = (ROOT / "docs" / "create.md").read_text(encoding="utf-8")
WORKFLOW = block_of("docs/ci.md", "GitHub Actions", "yaml")
HOOKS = block_of("docs/ci.md", "pre-commit", "yaml")


def test_table_of_options_is_complete() -> None:
    named = options(create)
    rows = re.findall(r"^\| (`(?:\\\||[^|])*) \|", OPTIONS, re.M)
    in_table = {name for row in rows for name in re.findall(r"`(--[\w-]+)", row)}
    assert in_table == named


def test_table_of_options_names_all_executors() -> None:
    (row,) = re.findall(r"^\| `--executor NAME`.*$", OPTIONS, re.M)
    assert {name for name in NAMED if name not in row} == set()


def test_tables_of_options_are_current() -> None:
    for page, _, _ in tables():
        assert (ROOT / "docs" / page).read_text(encoding="utf-8") == whole(page)


def options(command: Any) -> set[str]:
    """The long names of a command's options."""
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    names = (name for each in shown for name in (*each.opts, *each.secondary_opts))
    return {name for name in names if name.startswith("--")}


def test_page_has_all_options_of_the_commands_for_runs() -> None:
    found = set().union(*(options(each) for each in OPERATING))
    assert len(found) > 10
    assert found - options_in("operate.md") - options_in("assets.md") == set()


def test_page_has_all_options_for_many_flows() -> None:
    text = (ROOT / "docs" / "code-location.md").read_text(encoding="utf-8")
    (of_one,) = re.findall(r"those\s+that are of one flow: ([^.]*)\.", text)
    not_for_many = {*re.findall(r"--[\w-]+", of_one)}
    flags = [flag_of(option) for option in options_of(Surface.CREATE)]
    of_create = {name for flag in flags for name in (flag.name, flag.opposite) if name}
    own = {"--output-dir", "--check", "--force"}
    assert options(create_many) == of_create - not_for_many | own


def options_in(page: str) -> set[str]:
    return {*re.findall(r"(--[\w-]+)", (ROOT / "docs" / page).read_text(encoding="utf-8"))}


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
