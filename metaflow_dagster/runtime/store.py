"""Where Metaflow's datastore is and how its blobs are read and written, at compile and run time."""

import os
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from metaflow_dagster.runtime.command import adopt_settings, flow_file
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.tasks import Task

SYSROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"  # names the directory that holds .metaflow
LOCAL_DIRECTORY = ".metaflow"  # metaflow.metaflow_config.DATASTORE_LOCAL_DIR


@dataclass(frozen=True)
class Store:
    """Metaflow's datastore: its kind, as `--datastore` takes it, and its root.

    Paths are relative to the root. What reading and writing raise is Metaflow's exceptions, or
    `OSError`.
    """

    kind: str
    root: str

    @classmethod
    def near(
        cls, file: str, kind: str, root: str | None = None, sysroot: str | None = None
    ) -> "Store":
        """The datastore of a flow, by its file: at the root, else a local one in `sysroot`.

        Both are as they are configured; without, it is where `default_sysroot` has it.
        """
        return cls(kind, root or os.path.join(sysroot or default_sysroot(file), LOCAL_DIRECTORY))

    @property
    def implementation(self) -> Any:
        """Metaflow's class for its kind (metaflow/datastore/datastore_storage.py)."""
        from metaflow.plugins import DATASTORES

        return next(known for known in DATASTORES if self.kind == known.TYPE)

    @cached_property
    def storage(self) -> Any:
        """Metaflow's access to it, which keeps its connection."""
        return self.implementation(self.root)

    def address(self, path: str) -> str:
        """The file or URL of a path."""
        return str(self.storage.full_uri(path))

    def read(self, path: str) -> bytes | None:
        """The blob at a path; None if there is none."""
        with self.storage.load_bytes([path]) as blobs:
            return next((Path(file).read_bytes() for _path, file, _info in blobs if file), None)

    def write(self, path: str, content: bytes) -> None:
        """Store a blob in place of the one at that path, if there is one."""
        self.storage.save_bytes([(path, BytesIO(content))], overwrite=True)

    def of_flow(self, name: str) -> Any:
        """The part of a flow in it (metaflow/datastore/flow_datastore.py)."""
        from metaflow.datastore import FlowDataStore

        return FlowDataStore(name, None, storage_impl=self.implementation, ds_root=self.root)


def store_of(flow: FlowSettings) -> Store:
    """The datastore of a flow as an op finds it."""
    adopt_settings(flow)
    return Store.near(flow_file(flow), flow.datastore, flow.datastore_root, local_sysroot(flow))


def task_datastore(flow: FlowSettings, task: Task, attempt: int | None, mode: str) -> Any:
    """Metaflow's datastore of one attempt of a task (metaflow/datastore/task_datastore.py)."""
    tasks = store_of(flow).of_flow(flow.name)
    return tasks.get_task_datastore(task.run_id, task.step, task.id, attempt=attempt, mode=mode)


def next_attempt(flow: FlowSettings, task: Task) -> int:
    """The first attempt of the task that the datastore does not know."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    datastore = task_datastore(flow, task, 0, "w")
    for attempt in range(MAX_ATTEMPTS):
        if not datastore.has_metadata(f"{attempt}.attempt.json", add_attempt=False):
            return attempt
    return int(MAX_ATTEMPTS)


def local_sysroot(flow: FlowSettings) -> str:
    """The directory whose `.metaflow` holds all that Metaflow keeps locally."""
    from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL

    configured = {SYSROOT: DATASTORE_SYSROOT_LOCAL, **os.environ, **flow.variables}[SYSROOT]
    return str(configured or default_sysroot(flow_file(flow)))


def default_sysroot(file: str) -> str:
    """That directory for a flow's file, if nothing is configured.

    Metaflow looks for it from the working directory upwards, which is the file's in all processes
    of its steps.
    """
    return str(nearest_sysroot(file) or os.path.dirname(file))


def nearest_sysroot(file: str) -> Path | None:
    """The nearest directory with a `.metaflow`, from that of a flow's file upwards."""
    return next(
        (parent for parent in Path(file).parents if (parent / LOCAL_DIRECTORY).is_dir()), None
    )


def nearest_metadata(given: str, file: str) -> list[str]:
    """Where else than at the given one, if that is local, Metaflow's `metadata` may have a run.

    Where nothing is configured, runs are recorded in the nearest `.metaflow` from the flow's file
    upwards; for a command it is the nearest from the working directory upwards.
    """
    nearest = nearest_sysroot(file) if given.startswith("local@") else None
    return [f"local@{nearest}"] if nearest else []
