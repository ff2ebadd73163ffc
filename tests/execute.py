"""Runs a job on the instance of DAGSTER_HOME, and prints the id of the run as the last line."""

from __future__ import annotations

import json
import sys
from typing import Any

from dagster import DagsterInstance, ReexecutionOptions, execute_job
from dagster._core.definitions.reconstruct import ReconstructableJob


def reexecution(instance: DagsterInstance, request: dict[str, Any]) -> ReexecutionOptions | None:
    if request["after"] is None:
        return None
    if request["steps"]:
        return ReexecutionOptions(request["after"], step_selection=request["steps"])
    return ReexecutionOptions.from_failure(request["after"], instance)


def main(request: dict[str, Any]) -> None:
    with DagsterInstance.get() as instance:
        options = reexecution(instance, request)
        result = execute_job(
            ReconstructableJob.for_file(request["file"], request["job"]),
            instance=instance,
            run_config=request["config"],
            tags=request["tags"],
            reexecution_options=options,
            raise_on_error=False,
        )
        print(f"\n{result.run_id}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
