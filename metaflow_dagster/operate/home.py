"""Where the embedded Dagster keeps its history.

`DAGSTER_HOME` if it is set. Otherwise `~/.metaflow-dagster`, one for all flows of a user: a run is
then found from whatever directory a command is given in, and one constant brings up the UI with
everything that ran. Not inside `.metaflow`, where Metaflow takes directories for flows.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from metaflow_dagster.operate.errors import DagsterUnavailable

OWN_HOME = "~/.metaflow-dagster"

# Whoever triggers a flow has not decided to send usage data; Dagster would by default. Nor is there
# anything to see in its UI until they have answered whether they want its newsletter (`nux`).
_OWN_CONFIGURATION = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


def dagster_home(environment: Mapping[str, str] = os.environ) -> Path:
    """The home directory, which exists."""
    variable = environment.get("DAGSTER_HOME")
    return _given_home(variable) if variable else _own_home(Path(os.path.expanduser(OWN_HOME)))


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """While the block runs, whoever else wants to be alone in the home waits.

    The first to open a home makes its databases. Dagster does not expect that two do so at a time,
    and may leave them such that nobody can open them again.
    """
    directory = os.open(home, os.O_RDONLY)
    try:
        with suppress(OSError):  # where the file system has no locks
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _given_home(given: str) -> Path:
    home = Path(os.path.expanduser(given))
    if not home.is_absolute() or not os.path.isdir(home):
        raise DagsterUnavailable(
            f"DAGSTER_HOME is {given!r}, which is not the absolute path of a directory. "
            f"Create it, name another, or unset DAGSTER_HOME to use {OWN_HOME}."
        )
    return home


def _own_home(home: Path) -> Path:
    configuration = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not configuration.exists():
            configuration.write_text(_OWN_CONFIGURATION, encoding="utf-8")
    except OSError as error:
        raise DagsterUnavailable(
            f"Dagster's history cannot be kept in {home}: {error.strerror}. "
            "Set DAGSTER_HOME to a directory that you may write to."
        ) from error
    return home
