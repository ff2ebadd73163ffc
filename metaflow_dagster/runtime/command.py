"""The command line of a Metaflow process, and its environment."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from metaflow_dagster.runtime.settings import (
    CODE_PACKAGE,
    FLOW_CONFIGS,
    FLOW_FILE,
    FLOW_NAME,
    METAFLOW_STEP_ENV,
    METAFLOW_TOP_ARGS,
    OPS_ARE_DELIVERED,
    RUN_TAGS,
)

SYSROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"  # names the directory that holds .metaflow
FLOW_FILE_VARIABLE = f"METAFLOW_DAGSTER_FLOW_FILE_{FLOW_NAME}"  # says where the flow is here
ADOPTED = "METAFLOW_DAGSTER_ADOPTED"  # the process that has adopted settings, and which
LONGEST_ARGUMENT = 100_000  # Linux takes 128 KiB in one argument


def unfit(text: str) -> str:
    """Why a text can be neither an argument nor a variable of a process; empty if it can."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return "it has half a character in it, a surrogate"
    if b"\0" in encoded:
        return "it has a NUL in it"
    if len(encoded) > LONGEST_ARGUMENT:
        return f"it has {len(encoded)} bytes, and {LONGEST_ARGUMENT} is the most"
    return ""


def tag_options() -> list[str]:
    """Tags belong on every command: whichever comes first registers the run."""
    return [f"--tag={tag}" for tag in RUN_TAGS]


def metaflow_command(top_options: Sequence[str], command: Sequence[str]) -> list[str]:
    """A command line of the flow."""
    return [sys.executable, flow_file(), *METAFLOW_TOP_ARGS, *top_options, *command]


def flow_file() -> str:
    """The flow's file on this machine: as the environment says, or where it was compiled.

    If it is not there, it is in the code that was, or will be, taken out of the datastore.
    """
    named = os.environ.get(FLOW_FILE_VARIABLE)
    if named:
        return os.path.abspath(named)
    if CODE_PACKAGE is None or os.path.exists(FLOW_FILE):
        return FLOW_FILE
    return os.path.join(code_directory(), os.path.basename(FLOW_FILE))


def code_directory() -> str:
    """Where the code package of the flow is on this machine, for all runs of it."""
    own = f"metaflow-dagster-{os.getuid()}"
    return os.path.join(tempfile.gettempdir(), own, CODE_PACKAGE["sha"] if CODE_PACKAGE else "")


@contextmanager
def input_options(paths: Sequence[str]) -> Iterator[list[str]]:
    """The option that names the input tasks, in a file where a command line cannot hold them."""
    from metaflow.util import compress_list

    text = compress_list(list(paths))
    if len(text) < LONGEST_ARGUMENT:
        yield [f"--input-paths={text}"]
        return
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write(text)
        file.flush()
        yield [f"--input-paths-filename={file.name}"]


def process_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Metaflow process."""
    from metaflow.util import get_username

    # A parallel step starts its nodes with the `python` it finds first.
    python = os.path.dirname(sys.executable)
    path = os.pathsep.join([python, os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **METAFLOW_STEP_ENV, **extra}
    environment.update(code_environment(environment.get("PYTHONPATH")))
    environment["METAFLOW_RUNTIME_NAME"] = "dagster"
    environment["PYTHONUNBUFFERED"] = "x"
    if get_username() is None:
        # Without a user, as in most containers, Metaflow would refuse to run.
        environment.setdefault("METAFLOW_USER", "dagster")
    return environment


def code_environment(python_path: str | None) -> dict[str, str]:
    """What lets a process find the modules of the code package, Metaflow's own among them.

    `python_path` is where it would look otherwise, as `@environment` may say.
    """
    if CODE_PACKAGE is None or os.path.dirname(flow_file()) != code_directory():
        return {}
    from metaflow.package import MetaflowPackage

    variables = MetaflowPackage.get_post_extract_env_vars(
        CODE_PACKAGE["metadata"], code_directory()
    )
    environment = {name.rstrip(":"): str(value) for name, value in variables.items()}
    paths = [environment.get("PYTHONPATH"), python_path]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def adopt_settings() -> None:
    """Let Metaflow find in this process what it finds in those of the steps.

    It reads its settings when it is imported, and has them already where it was imported before.
    `RuntimeError` where that was for another flow that has others, as in workers of Celery.
    """
    adopted = f"{os.getpid()} {json.dumps(METAFLOW_STEP_ENV)}"
    if "metaflow" not in sys.modules:
        os.environ.update(METAFLOW_STEP_ENV)
        if OPS_ARE_DELIVERED:
            os.environ[ADOPTED] = adopted
        return
    there_are = os.environ.get(ADOPTED, adopted) if OPS_ARE_DELIVERED else adopted
    if there_are != adopted and there_are.split()[0] == str(os.getpid()):
        raise RuntimeError(
            "This process has Metaflow's settings for another flow, which are not those of "
            f"{FLOW_NAME}. Start the worker with --max-tasks-per-child=1, or give flows with other "
            "settings workers of their own."
        )


def local_sysroot() -> str:
    """The directory whose `.metaflow` holds all that Metaflow keeps locally.

    If nothing is configured, Metaflow looks for it from the working directory upwards, which is
    that of the flow in all processes of its steps.
    """
    from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL

    configured = {SYSROOT: DATASTORE_SYSROOT_LOCAL, **os.environ, **METAFLOW_STEP_ENV}[SYSROOT]
    if configured:
        return str(configured)
    return str(nearest_sysroot(flow_file()) or os.path.dirname(flow_file()))


def nearest_sysroot(file: str) -> Path | None:
    """The nearest directory with a `.metaflow`, from that of a flow's file upwards."""
    return next((one for one in Path(file).parents if (one / ".metaflow").is_dir()), None)


def config_environment(file: Path) -> dict[str, str]:
    """What gives the flow's Configs to a process, after writing their values to a file."""
    if not FLOW_CONFIGS:
        return {}
    file.write_text(json.dumps({"user_configs": FLOW_CONFIGS}), encoding="utf-8")
    names = {name: f"kv.{name}" for name in FLOW_CONFIGS}  # means: it stands in that file
    return {
        "METAFLOW_LOCAL_CONFIG_FILE": str(file),
        "METAFLOW_FLOW_CONFIG_VALUE": json.dumps(names),
    }
