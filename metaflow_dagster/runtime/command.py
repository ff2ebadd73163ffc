"""The command line of a Metaflow process, and its environment."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from metaflow_dagster.runtime.settings import FlowSettings

ADOPTED = "METAFLOW_DAGSTER_ADOPTED"  # the process that has adopted settings, and which
USER_VARIABLES = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
LONGEST_ARGUMENT = 100_000  # Linux takes 128 KiB in one argument


def unfit(text: str) -> str:
    """Why a text can be neither an argument nor a variable of a process; empty if it can."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return "it contains a lone surrogate (not valid UTF-8)"
    if b"\0" in encoded:
        return "it has a NUL in it"
    if len(encoded) > LONGEST_ARGUMENT:
        return f"it has {len(encoded)} bytes, and {LONGEST_ARGUMENT} is the most"
    return ""


def tag_options(flow: FlowSettings) -> list[str]:
    """Tags belong on every command: whichever comes first registers the run."""
    return [f"--tag={tag}" for tag in flow.run_tags]


def metaflow_command(
    flow: FlowSettings, top_options: Sequence[str], command: Sequence[str]
) -> list[str]:
    """A command line of the flow."""
    backend = [
        f"--metadata={flow.metadata}",
        f"--environment={flow.environment}",
        f"--datastore={flow.datastore}",
        *([f"--datastore-root={flow.datastore_root}"] if flow.datastore_root else []),
        f"--event-logger={flow.event_logger}",
        f"--monitor={flow.monitor}",
    ]
    options = ["--quiet", "--no-pylint", *backend, *flow.top_options, *top_options]
    return [sys.executable, flow_file(flow), *options, *command]


def flow_file_variable(flow: FlowSettings) -> str:
    """The environment variable that may say where the flow's file is on a machine."""
    return f"METAFLOW_DAGSTER_FLOW_FILE_{flow.name}"


def flow_file(flow: FlowSettings) -> str:
    """The flow's file on this machine: as the environment says, or where it was compiled.

    If it is not there, it is in the code that was, or will be, taken out of the datastore.
    """
    named = os.environ.get(flow_file_variable(flow))
    if named:
        return os.path.abspath(named)
    if flow.code is None or os.path.exists(flow.file):
        return flow.file
    return os.path.join(flow.code.directory(flow), os.path.basename(flow.file))


def flow_directory(flow: FlowSettings) -> str:
    """The directory in which processes of the flow run, as is needed for the paths in it.

    Metaflow finds its local store from there, too.
    """
    return os.path.dirname(flow_file(flow))


@contextmanager
def input_options(paths: Sequence[str], longest: int = LONGEST_ARGUMENT) -> Iterator[list[str]]:
    """The option that names the input tasks, in a file where a command line cannot hold them.

    That is from `longest` bytes on.
    """
    from metaflow.util import compress_list

    text = compress_list(list(paths))
    if len(text) < longest:
        yield [f"--input-paths={text}"]
        return
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write(text)
        file.flush()
        yield [f"--input-paths-filename={file.name}"]


def process_environment(flow: FlowSettings, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Metaflow process."""
    # A parallel step starts its nodes with the `python` it finds first.
    python = os.path.dirname(sys.executable)
    path = os.pathsep.join([python, os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **flow.variables, **extra}
    if flow.code:
        environment.update(flow.code.search_path(flow, environment.get("PYTHONPATH")))
    environment["METAFLOW_RUNTIME_NAME"] = "dagster"
    environment["PYTHONUNBUFFERED"] = "x"
    if not has_user():
        # Without a user, as in most containers, Metaflow would refuse to run.
        environment.setdefault("METAFLOW_USER", "dagster")
    return environment


def has_user() -> bool:
    """Whether Metaflow finds a user that it runs for (metaflow/util.py: get_username)."""
    named = map(os.environ.get, USER_VARIABLES)
    if any(user and user != "root" for user in named):
        return True
    # This reads Metaflow's configuration as well, and takes time.
    from metaflow.util import get_username

    return get_username() is not None


def adopt_settings(flow: FlowSettings) -> None:
    """Let Metaflow find in this process what it finds in those of the steps.

    It reads its settings when it is imported, and has them already where it was imported before.
    `RuntimeError` where that was for another flow that has others, as in workers of Celery.
    """
    adopted = f"{os.getpid()} {json.dumps(dict(flow.variables))}"
    if "metaflow" not in sys.modules:
        os.environ.update(flow.variables)
        if flow.is_delivered:
            os.environ[ADOPTED] = adopted
        return
    earlier = os.environ.get(ADOPTED, adopted) if flow.is_delivered else adopted
    if earlier != adopted and earlier.split()[0] == str(os.getpid()):
        raise RuntimeError(
            "This process has Metaflow's settings for another flow, which are not those of "
            f"{flow.name}. Start the worker with --max-tasks-per-child=1, or give flows with other "
            "settings workers of their own."
        )
