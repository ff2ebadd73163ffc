from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from dagster import ExecutorDefinition

from metaflow_dagster.executors import (
    NAMED,
    THREADS,
    ImportedExecutor,
    OwnExecutor,
    find_executor,
)

ROOT = Path(__file__).parents[2]

IMPORTED = {name: one for name, one in NAMED.items() if isinstance(one, ImportedExecutor)}


def definition(executor: ImportedExecutor) -> ExecutorDefinition:
    found: ExecutorDefinition = getattr(
        importlib.import_module(executor.module), executor.attribute
    )
    return found


@pytest.mark.parametrize("name", NAMED)
def test_names(name: str) -> None:
    assert find_executor(name) == NAMED[name]


def test_threads_are_the_default() -> None:
    assert find_executor(None) == find_executor("threads") == THREADS == OwnExecutor("threads")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("mine:runs_here", ImportedExecutor("mine", "runs_here"), id="module"),
        pytest.param("my.own_1.x:_y", ImportedExecutor("my.own_1.x", "_y"), id="package"),
        pytest.param("dagster_k8s:k8s", ImportedExecutor("dagster_k8s", "k8s"), id="known module"),
    ],
)
def test_of_a_module(name: str, found: ImportedExecutor) -> None:
    assert find_executor(name) == found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "K8S",
        "k8s ",
        "a.b",
        ":b",
        "a:",
        "a:b.c",
        "a..b:c",
        "a:1",
        "a-b:c",
        "a:b\n",
        "a:for",
        "é:a",
    ],
)
def test_nothing(name: str) -> None:
    assert find_executor(name) is None


@pytest.mark.slow
@pytest.mark.parametrize("executor", IMPORTED.values(), ids=IMPORTED)
def test_what_is_said_of_executors_of_packages(executor: ImportedExecutor) -> None:
    """By the configuration they take: a limit, and what to start a pod with."""
    fields = definition(executor).config_schema.config_type.fields
    assert executor.has_limit == ("max_concurrent" in fields)
    assert executor.has_pods == ("job_image" in fields)
    assert (executor.priority_tag is not None) == ("broker" in fields)


@pytest.mark.slow
def test_the_tag_in_which_celery_looks_for_the_priority() -> None:
    from dagster_celery.tags import DAGSTER_CELERY_RUN_PRIORITY_TAG

    tags = {name: one.priority_tag for name, one in IMPORTED.items() if one.priority_tag}
    assert tags == dict.fromkeys(["celery", "celery_k8s"], DAGSTER_CELERY_RUN_PRIORITY_TAG)


def test_the_docs_name_all_and_say_what_to_install() -> None:
    text = (ROOT / "docs" / "executors.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\S+?)`.*\|(.*)\|$", text[: text.index("\n\nThey are installed")], re.M
    )
    extras = {name: re.findall(r"metaflow-dagster\[(\w+)\]", installed) for name, installed in rows}
    known = {
        name: [one.extra] if isinstance(one, ImportedExecutor) else []
        for name, one in NAMED.items()
    }
    del extras["--executor"]
    assert extras == {**known, "module:attribute": []}
