"""The files that a process may have open, which bound how many ops can run in it."""

import os
import resource
from contextlib import suppress
from math import ceil
from typing import Any

# Measured with flows whose steps do nothing: logs, pipes, and what a start takes for a moment.
FILES_OF_AN_OP = 10
FILES_OF_A_RUN = 24  # guard, step server, Dagster's databases, the datastore


def affordable_ops(context: Any, max_ops: int) -> int:
    """How many ops may run at once in this process, with a warning if they are fewer than wanted.

    If the files it may have open do not suffice, it is allowed as many as it can allow itself.
    """
    needed = open_files() + FILES_OF_A_RUN + max_ops * FILES_OF_AN_OP
    allowed = raised_limit(needed)
    ops = max(1, max_ops - ceil(max(0, needed - allowed) / FILES_OF_AN_OP))
    if ops < max_ops:
        context.log.warning(
            f"At most {ops} ops run at once instead of {max_ops}, since this process may have no "
            f"more than {allowed} files open. Raise that limit where it is started: "
            f"`ulimit -n {needed}`."
        )
    return ops


def raised_limit(needed: int) -> int:
    """How many files this process may have open, after it has raised the limit if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else hard
        with suppress(OSError, ValueError):  # as on macOS, where the kernel has a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return needed if soft == resource.RLIM_INFINITY else soft


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/dev/fd"))
