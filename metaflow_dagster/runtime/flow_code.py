"""The code of the flow, where it is not on the machine: out of the datastore."""

import os
import stat
import tempfile
from io import BytesIO
from pathlib import Path

from dagster import Failure

from metaflow_dagster.runtime.command import FLOW_FILE_VARIABLE, code_directory, flow_file
from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.settings import CODE_PACKAGE, FLOW_NAME
from metaflow_dagster.runtime.store import datastore_root


def provide_code() -> None:
    """See to it that the flow's file is there; `dagster.Failure` if it cannot be."""
    directory = Path(code_directory())
    if CODE_PACKAGE is not None and Path(flow_file()).parent == directory:
        claim_directory(directory.parent)
        if not directory.is_dir():
            extract_code(directory, CODE_PACKAGE)
    elif not os.path.exists(flow_file()):
        reason = (
            f"{flow_file()} is not there. Bring the flow along with this file, let "
            f"{FLOW_FILE_VARIABLE} name its file, or compile anew, with --package if need be."
        )
        raise final_failure(reason)


def claim_directory(directory: Path) -> None:
    """Make a directory of one's own among everybody's temporary files, with nobody's code in it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"Others can write to {directory}, so the code in it may not be the flow's."
        raise final_failure(f"{reason} Remove it.")


def code_variables() -> dict[str, str]:
    """By what Metaflow notes which code package a task belongs to, for `Task.code`."""
    if CODE_PACKAGE is None:
        return {}
    kind, root = datastore_root()
    sha, storage = CODE_PACKAGE["sha"], kind(root)
    return {
        "METAFLOW_CODE_SHA": sha,
        "METAFLOW_CODE_URL": storage.full_uri(package_path(sha)),
        "METAFLOW_CODE_DS": storage.TYPE,
        "METAFLOW_CODE_METADATA": CODE_PACKAGE["metadata"],
    }


def extract_code(directory: Path, package: dict[str, str]) -> None:
    """Make the directory of a code package, as others may do at the same time."""
    from metaflow.package import MetaflowPackage

    blob = load_code(package["sha"])
    with tempfile.TemporaryDirectory(dir=directory.parent) as fresh:
        content = Path(fresh, "code")
        content.mkdir()
        MetaflowPackage.cls_extract_into(package["metadata"], BytesIO(blob), str(content))
        try:
            content.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise


def load_code(sha: str) -> bytes:
    """A code package out of the datastore; `dagster.Failure` if it cannot be had."""
    from metaflow.exception import MetaflowException

    kind, root = datastore_root()
    place = kind(root).full_uri(package_path(sha))
    try:
        with kind(root).load_bytes([package_path(sha)]) as blobs:
            contents = [Path(file).read_bytes() for _path, file, _info in blobs if file]
    except (MetaflowException, OSError) as error:
        raise Failure(f"The code of the flow cannot be loaded from {place}: {error}") from error
    if not contents:
        raise Failure(f"The code of the flow is not at {place}. Compile anew, with --package.")
    return contents[0]


def package_path(sha: str) -> str:
    """Where Metaflow keeps a package (metaflow/datastore/content_addressed_store.py)."""
    return f"{FLOW_NAME}/data/{sha[:2]}/{sha}"
