"""The executors, which run the ops of a job: those of the generated file, and those of packages.

threads, multiprocess, in_process        on the machine of the run
celery, docker, k8s, celery_k8s          on others, by Dagster's packages
my_package.module:attribute              anything that Dagster takes for an executor
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Literal, TypeAlias

OwnName: TypeAlias = Literal["threads", "multiprocess", "in_process"]


@dataclass(frozen=True, slots=True)
class OwnExecutor:
    """An executor on the machine of the run."""

    name: OwnName


@dataclass(frozen=True, slots=True)
class ImportedExecutor:
    """An executor that a module has.

    `extra` is the extra of this package that brings the module along. `has_limit` is whether its
    configuration has `max_concurrent`. `has_pods` is whether every op is run in a pod of its own,
    which the tag `dagster-k8s/config` of the op describes. `priority_tag` is the tag of a run in
    which it looks for the priority, besides Dagster's own.
    """

    module: str
    attribute: str
    extra: str | None = None
    has_limit: bool = False
    has_pods: bool = False
    priority_tag: str | None = None


Executor: TypeAlias = OwnExecutor | ImportedExecutor

_CELERY_PRIORITY = "dagster-celery/run_priority"  # dagster_celery/tags.py

THREADS = OwnExecutor("threads")

NAMED: Mapping[str, Executor] = {
    "threads": THREADS,
    "multiprocess": OwnExecutor("multiprocess"),
    "in_process": OwnExecutor("in_process"),
    "celery": ImportedExecutor(
        "dagster_celery", "celery_executor", "celery", priority_tag=_CELERY_PRIORITY
    ),
    "docker": ImportedExecutor("dagster_docker", "docker_executor", "docker", has_limit=True),
    "k8s": ImportedExecutor(
        "dagster_k8s", "k8s_job_executor", "k8s", has_limit=True, has_pods=True
    ),
    "celery_k8s": ImportedExecutor(
        "dagster_celery_k8s",
        "celery_k8s_job_executor",
        "celery_k8s",
        has_pods=True,
        priority_tag=_CELERY_PRIORITY,
    ),
}


def find_executor(name: str | None) -> Executor | None:
    """The executor of a name, or of none; None if the name is that of nothing."""
    if name is None:
        return THREADS
    return NAMED.get(name) or _imported(name)


def _imported(name: str) -> ImportedExecutor | None:
    """The executor of a name of the form `module:attribute`."""
    match = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", name, re.ASCII)
    if match is None or any(map(iskeyword, re.split(r"[.:]", name))):
        return None
    return ImportedExecutor(match[1], match[2])
