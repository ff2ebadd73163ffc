"""How the process of a run hears that somebody wants the run to end.

Dagster's UI calls the process by gRPC, at the address that a tag of the run gives, as it does for
the runs that a code server executes. Whoever cannot reach that address, as from another container
with the same home, marks the run as to be canceled; so the process looks for that as well.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from metaflow_dagster.internals.operation import DagsterCancellation

if TYPE_CHECKING:
    from dagster import DagsterInstance

SECONDS_BETWEEN_LOOKS = 1.0


class Interruption:
    """Interrupts the main thread, once: a second time would disturb the clearing up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened = False

    def __call__(self) -> None:
        with self._lock:
            if not self._happened:
                self._happened = True
                os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def interrupted_when_canceled(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Interrupt the main thread when somebody wants the run to end."""
    interrupt, over = Interruption(), threading.Event()
    arguments = (instance.get_ref(), run_id, over, interrupt)
    watcher = threading.Thread(target=_watch, args=arguments, daemon=True)
    watcher.start()
    try:
        with _cancellation_server(instance, run_id, interrupt):
            yield
    finally:
        over.set()
        watcher.join()


def _watch(instance_ref: Any, run_id: str, over: threading.Event, interrupt: Interruption) -> None:
    from dagster import DagsterInstance, DagsterRunStatus

    with DagsterInstance.from_ref(instance_ref) as instance:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            run = instance.get_run_by_id(run_id)
            if run is None or run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED):
                interrupt()
                return


@contextmanager
def _cancellation_server(
    instance: DagsterInstance, run_id: str, interrupt: Interruption
) -> Iterator[None]:
    """Answer to Dagster's call to end the run, on a socket of this process."""
    import grpc  # type: ignore[import-untyped]

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    DagsterCancellation.serve(_servicer(interrupt), server)
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-") as directory:
        socket = os.path.join(directory, "socket")
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        address = {"host": "localhost", "socket": socket}
        instance.add_run_tags(run_id, {DagsterCancellation.address_tag.get(): json.dumps(address)})
        try:
            yield
        finally:
            server.stop(grace=None)


def _servicer(interrupt: Interruption) -> Any:
    servicer: Any = DagsterCancellation.servicer.get()

    class Cancellation(servicer):
        """Of what a code server can do, the ending of the one run of this process."""

        def CancelExecution(self, request: Any, context: Any) -> Any:
            interrupt()
            is_success, message, error = True, None, None
            result = DagsterCancellation.result(is_success, message, error)
            reply = DagsterCancellation.reply.get()
            return reply(serialized_cancel_execution_result=DagsterCancellation.serialize(result))

    return Cancellation()
