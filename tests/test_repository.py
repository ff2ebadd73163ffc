"""Files about the project: what they name is there, and they say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
HOME = "https://github.com/metaflow-dagster/metaflow-dagster"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
FORMS = ("bug_report.yml", "feature_request.yml")

# https://docs.github.com: what a form consists of, and what each part has to say.
PARTS = {
    "checkboxes": {"label", "options"},
    "dropdown": {"label", "options"},
    "input": {"label"},
    "markdown": {"value"},
    "textarea": {"label"},
}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


WORKFLOW = read(".github/workflows/ci.yml")


def targets() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    return {*phony.split()}


def made(text: str) -> set[str]:
    """The targets that a text calls."""
    return {*re.findall(r"\bmake ([a-z-]+)\b", text)}


def classified() -> list[str]:
    """The versions of Python in the classifiers."""
    return re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.M)


def test_versions_of_python_are_those_that_are_required() -> None:
    (first, after_last) = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert PROJECT["requires-python"] == f">=3.{first},<3.{after_last}"
    assert classified() == [f"3.{minor}" for minor in range(int(first), int(after_last))]


def test_all_versions_of_python_are_tested() -> None:
    matrices = {
        name: job["strategy"]["matrix"]["python-version"]
        for name, job in WORKFLOW["jobs"].items()
        if "strategy" in job
    }
    assert matrices["test"] == classified()
    assert {*matrices["oldest"]} < {*classified()}


def test_workflow_does_what_has_to_pass() -> None:
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    run = {step["run"] for step in steps if "run" in step}
    required = re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert {*required} < run
    assert all(
        re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step
    )
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True


@pytest.mark.parametrize(
    "file",
    [
        ".ci/run",
        ".github/workflows/ci.yml",
        ".github/pull_request_template.md",
        ".pre-commit-config.yaml",
        "CONTRIBUTING.md",
        "README.md",
    ],
)
def test_targets_that_are_named_exist(file: str) -> None:
    named = made((ROOT / file).read_text(encoding="utf-8"))
    assert named
    assert named <= targets()


def test_contributing_names_all_targets_but_help() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^\| `make ([a-z-]+)", text, re.M)} == targets() - {"help", "clean"}


def test_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w.-]+(?:/[\w.-]*)*(?:/|\.\w+))(?::[^`]*)?`", text)
    bases = (ROOT, ROOT / "metaflow_dagster")
    assert len(named) > 10
    assert [each for each in named if not any((base / each).exists() for base in bases)] == []


def test_help_lists_all_targets() -> None:
    help = ["make", "--no-print-directory", "help"]
    said = subprocess.run(help, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in said.stdout.splitlines()} == targets()


def test_hooks_are_the_checks_of_make_lint() -> None:
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert any(command.startswith(hook["entry"]) for command in commands), hook["entry"]
        re.compile(hook.get("files", ""))


@pytest.mark.parametrize("name", FORMS)
def test_form_for_issues(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert (
        {"name", "description", "body"} <= form.keys() <= {"name", "description", "labels", "body"}
    )
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len({*ids}) == len(ids) > 0
    for part in form["body"]:
        assert PARTS[part["type"]] <= part["attributes"].keys()
        assert all(part["attributes"].values()) or part["type"] == "dropdown"


def test_executors_of_the_form_are_those_that_there_are() -> None:
    from metaflow_dagster.executors import NAMED

    body = read(".github/ISSUE_TEMPLATE/bug_report.yml")["body"]
    (options,) = (node["attributes"]["options"] for node in body if node["type"] == "dropdown")
    assert {option.split()[0] for option in options} == {*NAMED, "an"}


def test_links_for_issues() -> None:
    config = read(".github/ISSUE_TEMPLATE/config.yml")
    for link in config["contact_links"]:
        assert link.keys() == {"name", "url", "about"}
        assert (ROOT / link["url"].removeprefix(f"{HOME}/blob/main/")).exists()


def test_urls_of_the_project() -> None:
    assert {*PROJECT["urls"]} == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(HOME) for url in PROJECT["urls"].values())
    assert read_repo_url() == HOME
    for url in PROJECT["urls"].values():
        _, blob, path = url.partition("/blob/main/")
        assert not blob or (ROOT / path).exists()


def read_repo_url() -> str:
    (found,) = re.findall(r"^repo_url: (.*)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    return str(found)


def test_changelog_has_the_form_of_keep_a_changelog() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.M)
    assert headings[0] == "[Unreleased]"
    versions = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:]
    ]
    assert all(versions)
    kinds = {*re.findall(r"^### (.*)$", CHANGELOG, re.M)}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    links = re.findall(rf"^\[(.*)\]: {HOME}/", CHANGELOG, re.M)
    assert links == ["Unreleased", *(version[1] for version in versions if version)]
