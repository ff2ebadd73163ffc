"""The values that ops pass to each other, paths of tasks, in Metaflow's datastore.

All ops reach that, wherever they run; what Dagster would take by itself is a local directory.
"""

import json
from collections.abc import Sequence
from typing import Any

from dagster import (
    InputContext,
    IOManager,
    IOManagerDefinition,
    OutputContext,
)

from metaflow_dagster.runtime.failures import final_failure
from metaflow_dagster.runtime.settings import OUTPUTS, FlowSettings
from metaflow_dagster.runtime.store import store_of


class DatastoreIOManager(IOManager):
    """Keeps the outputs of ops as JSON, by run, op and name.

    The dynamic outputs of a foreach are all the same path. So a value is stored once for all
    mapping keys, and for one of them only where it is another.
    """

    def __init__(self, flow: FlowSettings) -> None:
        self.flow = flow
        self.known: dict[str, str] = {}  # what this process has stored, which need not be read

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store an output."""
        shared, own = output_paths(context.get_identifier())
        text = json.dumps(obj)
        if own not in self.known and self.known.get(shared) == text:
            return
        path = own if shared in self.known else shared
        store_of(self.flow).write(path, text.encode())
        self.known[path] = text

    def load_input(self, context: InputContext) -> Any:
        """The value that an op gets of one before it, perhaps of one in an earlier run."""
        shared, own = output_paths(context.get_identifier())
        for path in (own, shared):
            if path in self.known:
                return json.loads(self.known[path])
        return stored_output(self.flow, own, shared)


def output_paths(identifier: Sequence[str]) -> tuple[str, str]:
    """Where the value of an output is stored: for any mapping key, and for its own if it has one.

    `identifier` is that of Dagster: run, step key, name of the output, perhaps mapping key.
    """
    run_id, step_key, name, *mapping_key = identifier
    shared = f"{OUTPUTS}/{run_id}/{step_key}/{name}"
    return shared, ".".join([shared, *mapping_key])


def stored_output(flow: FlowSettings, *paths: str) -> Any:
    """The content of the first of some paths that is there in the datastore."""
    store = store_of(flow)
    for path in dict.fromkeys(paths):
        content = store.read(path)
        if content is not None:
            return read_output(path, content)
    raise final_failure(
        f"{store.root} does not hold the output {paths[0]}, which this op needs. Resume the run "
        "(dagster resume --run-id), or run the whole job anew."
    )


def read_output(path: str, content: bytes) -> Any:
    """The value that an op has stored; `Failure` if it is damaged."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise final_failure(
            f"{path} in the datastore is not as an op has stored it. Run the whole job anew."
        ) from error


def datastore_io_manager(flow: FlowSettings) -> IOManagerDefinition:
    """The I/O manager of the flow's job; each run has one of its own."""
    return IOManagerDefinition(
        lambda _context: DatastoreIOManager(flow),
        description="Keeps what ops pass to each other in Metaflow's datastore.",
    )
