"""`dagster step`, by which ops run the steps whose decorators have a say in how that is done."""

from __future__ import annotations

import os
import sys
from typing import Any

from metaflow import namespace
from metaflow._vendor import click
from metaflow.cli_components.step_cmd import step as metaflow_step
from metaflow.unbounded_foreach import UBF_CONTROL
from metaflow.util import decompress_list

from metaflow_dagster.hooks import Attempt, run_attempt


def run_hooked_step(
    step_name: str,
    run_id: str,
    task_id: str,
    input_paths: str | None,
    input_paths_filename: str | None,
    split_index: int | None,
    opt_tag: tuple[str, ...],
    opt_namespace: str | None,
    retry_count: int,
    max_user_code_retries: int,
    clone_run_id: str | None,
    ubf_context: str,
    **_: Any,
) -> None:
    """Run an attempt of a task with its decorators' hooks, and end as its process has ended."""
    state = click.get_current_context().obj
    if opt_namespace is not None:
        namespace(opt_namespace)
    state.metadata.add_sticky_tags(tags=opt_tag)
    # `@parallel` itself gives the control task its index, by a hook.
    has_index = split_index is not None and ubf_context != UBF_CONTROL
    attempt = Attempt(
        step=step_name,
        run_id=run_id,
        task_id=task_id,
        input_paths=_paths(input_paths, input_paths_filename),
        split_index=str(split_index) if has_index else None,
        retry_count=retry_count,
        max_user_code_retries=max_user_code_retries,
        ubf_context=None if ubf_context == "none" else ubf_context,
        clone_run_id=clone_run_id,
    )
    returncode = run_attempt(state, attempt)
    sys.stdout.flush()
    if returncode < 0:
        os.kill(os.getpid(), -returncode)
    sys.exit(returncode)


def _paths(text: str | None, file: str | None) -> list[str]:
    if not text and file:
        with open(file, encoding="utf-8") as lines:
            text = lines.read().strip()
    return list(decompress_list(text)) if text else []


# The options of Metaflow's own command, of which this one takes the place.
step = click.Command(
    "step",
    params=list(metaflow_step.params),
    callback=run_hooked_step,
    help="Internal command to execute a single task with the hooks of its decorators.",
    hidden=True,
)
