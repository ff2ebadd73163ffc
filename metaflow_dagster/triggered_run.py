"""`DagsterTriggeredRun`: a run that Metaflow's Deployer API has started, or found again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowNotFound
from metaflow.runner.deployer import TriggeredRun

from metaflow_dagster.internals.metaflow import MetaflowRuns
from metaflow_dagster.operate.deployed import read_compiled
from metaflow_dagster.operate.runs import DagsterRun
from metaflow_dagster.operate.target import open_target
from metaflow_dagster.operate.terminate import terminate_run
from metaflow_dagster.runtime.store import nearest_metadata

if TYPE_CHECKING:
    from metaflow import Run


class DagsterTriggeredRun(TriggeredRun):
    """
    A run of a deployed flow on Dagster.

    It is asked of the Dagster that launched it, so what it says does not depend on who does.
    """

    def __init__(self, deployer: Any, content: str) -> None:
        """Take what `dagster trigger` has written for the deployer."""
        super().__init__(deployer, content)
        attributes = json.loads(content)
        self._dagster_run_id: str = attributes["dagster_run_id"]
        self._dagster_url: str | None = attributes["dagster_url"]

    @property
    def dagster_run_id(self) -> str:
        """
        The id of the run in Dagster.

        Returns
        -------
        str
            The id under which Dagster's UI and its API know the run.
        """
        return self._dagster_run_id

    @property
    def dagster_url(self) -> str | None:
        """
        A link that opens the run in Dagster's UI.

        Returns
        -------
        str, optional
            None for a run on this machine: whether `dagster dev` shows its history, and on which
            port, is not known. Where the history is, `trigger` prints.
        """
        return self._dagster_url

    @property
    def run(self) -> Run | None:
        """
        The Metaflow run.

        Returns
        -------
        Run, optional
            None until its `start` step begins.
        """
        for store in self._stores():
            try:
                run: Run = MetaflowRuns.run(self.pathspec, MetaflowRuns.is_checked, store)
                return run
            except MetaflowNotFound:
                continue
        return None

    @property
    def status(self) -> str:
        """
        Where the run is.

        Returns
        -------
        str
            Pending, Running, Succeeded or Failed, as `dagster status` prints it. A run that was
            terminated has failed.

        Raises
        ------
        MetaflowException
            If Dagster is out of reach, or the run has been deleted there.
        """
        return self._dagster_run().phase.value

    @property
    def is_running(self) -> bool:
        """
        Whether the run has not ended.

        Returns
        -------
        bool
            True while the status is Pending or Running.
        """
        return not self._dagster_run().phase.is_finished

    def wait_for_completion(self, check_interval: float = 5, timeout: float | None = None) -> None:
        """
        Wait for the end of the run, whether it succeeds or fails.

        Parameters
        ----------
        check_interval : float, default 5
            Seconds between two looks.
        timeout : float, optional, default None
            Most seconds to wait. If None, wait for as long as it takes.

        Raises
        ------
        TimeoutError
            If the run has not ended by then; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.pathspec} has not ended within {timeout} seconds.")
            time.sleep(check_interval)

    def terminate(self) -> bool:
        """
        End the run, with all its processes.

        Returns
        -------
        bool
            True if that has ended it. False if it had ended before, or has not ended half a minute
            later.
        """
        with open_target(self.deployer.url, self.deployer.env_vars) as target:
            run = target.run(self.dagster_run_id)
            return not run.phase.is_finished and terminate_run(target, run)

    def _dagster_run(self) -> DagsterRun:
        with open_target(self.deployer.url, self.deployer.env_vars) as target:
            return target.run(self.dagster_run_id)

    def _stores(self) -> Iterator[str | None]:
        """Where Metaflow may have recorded the run: for local files, first next to the flow."""
        given = self.metadata_for_flow
        file = self.deployer.additional_info.get("definitions_file")
        compiled = read_compiled(Path(file)) if file else None
        if compiled is not None:
            yield from nearest_metadata(given or "", str(compiled.flow_file))
        yield given
