"""The code of the flow, where it is not on the machine: out of the datastore."""

import os
import stat
import tempfile
from dataclasses import dataclass
from hashlib import sha1
from io import BytesIO
from pathlib import Path

from dagster import Failure

from metaflow_dagster.runtime.command import flow_directory, flow_file, flow_file_variable
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import LOCAL_DIRECTORY, SYSROOT, store_of

LOCAL_STORE = (
    "It was compiled with the local datastore, a directory that machines have to have at the same "
    "path. Make that available here, or compile with one that all reach, as with --datastore=s3."
)


def provide_code(flow: FlowSettings) -> None:
    """See to it that the flow's file is there; `dagster.Failure` if it cannot be."""
    if flow.code and flow_directory(flow) == flow.code.directory(flow):
        flow.code.provide(flow)
    elif not os.path.exists(flow_file(flow)):
        reason = (
            f"{flow_file(flow)} is not there. Bring the flow along with this file, let "
            f"{flow_file_variable(flow)} name its file, or compile anew, with --package if need be."
        )
        raise final_failure(reason)


@dataclass(frozen=True, eq=False)
class CodePackage:
    """The code package of the flow in the datastore: its hash, and Metaflow's note of its format.

    It is extracted on machines that do not have the flow's file.
    """

    sha: str
    metadata: str

    def directory(self, flow: FlowSettings) -> str:
        """Where the code is on this machine, for all runs of the flow with a datastore."""
        store = local_store(flow)
        key = f"{self.sha}-{sha1(store.encode()).hexdigest()[:8]}" if store else self.sha
        return os.path.join(tempfile.gettempdir(), f"metaflow-dagster-{os.getuid()}", key)

    def provide(self, flow: FlowSettings) -> None:
        """Take the code out of the datastore, unless it is on this machine already."""
        directory = Path(self.directory(flow))
        claim_directory(directory.parent)
        if not directory.is_dir():
            self.extract(flow, directory)

    def extract(self, flow: FlowSettings, directory: Path) -> None:
        """Make the directory of the code, as others may do at the same time."""
        from metaflow.package import MetaflowPackage

        blob = load_code(flow, self.sha)
        with tempfile.TemporaryDirectory(dir=directory.parent) as fresh:
            content = Path(fresh, "code")
            content.mkdir()
            MetaflowPackage.cls_extract_into(self.metadata, BytesIO(blob), str(content))
            if store := local_store(flow):
                # Metaflow writes local cards to the store that it finds from the working directory.
                (content / LOCAL_DIRECTORY).symlink_to(store)
            try:
                content.rename(directory)
            except OSError:
                if not directory.is_dir():
                    raise

    def search_path(self, flow: FlowSettings, python_path: str | None) -> dict[str, str]:
        """Environment by which a process finds modules of the package, Metaflow's own among them.

        `python_path` is where it would look otherwise, as `@environment` may say.
        """
        if flow_directory(flow) != self.directory(flow):
            return {}
        from metaflow.package import MetaflowPackage

        variables = MetaflowPackage.get_post_extract_env_vars(self.metadata, flow_directory(flow))
        environment = {name.rstrip(":"): str(value) for name, value in variables.items()}
        paths = [environment.get("PYTHONPATH"), python_path]
        return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def task_variables(self, flow: FlowSettings) -> dict[str, str]:
        """Environment by which Metaflow records the code package of a task, for `Task.code`."""
        store = store_of(flow)
        return {
            "METAFLOW_CODE_SHA": self.sha,
            "METAFLOW_CODE_URL": store.address(package_path(flow, self.sha)),
            "METAFLOW_CODE_DS": store.kind,
            "METAFLOW_CODE_METADATA": self.metadata,
        }


def local_store(flow: FlowSettings) -> str | None:
    """The root of the datastore as the file has it, if that is a directory."""
    sysroot = flow.variables.get(SYSROOT)
    default = os.path.join(sysroot, LOCAL_DIRECTORY) if sysroot else None
    return (flow.datastore_root or default) if flow.datastore == "local" else None


def claim_directory(directory: Path) -> None:
    """Make a directory of one's own among everybody's temporary files, with nobody's code in it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"Others can write to {directory}, so the code in it may not be the flow's."
        raise final_failure(f"{reason} Remove it.")


def load_code(flow: FlowSettings, sha: str) -> bytes:
    """A code package out of the datastore; `dagster.Failure` if it cannot be had."""
    from metaflow.exception import MetaflowException

    store = store_of(flow)
    path = package_path(flow, sha)
    place = store.address(path)
    try:
        content = store.read(path)
    except (MetaflowException, OSError) as error:
        raise Failure(f"The code of the flow cannot be loaded from {place}: {error}") from error
    if content is None:
        why = LOCAL_STORE if store.kind == "local" else "Compile anew, with --package."
        raise Failure(f"The code of the flow is not at {place}. {why}")
    return content


def package_path(flow: FlowSettings, sha: str) -> str:
    """Where Metaflow keeps a package (metaflow/datastore/content_addressed_store.py)."""
    return f"{flow.name}/data/{sha[:2]}/{sha}"
