"""The runtime of generated definitions files.

The functions that its ops call, and everything those use. A generated file holds a copy of what it
needs, or imports it: from a copy beside it, or from here. So this is what runs in production, and
it is typed and tested like any other code. It needs the standard library and Dagster; Metaflow is
imported where it is used, since importing it takes longer than loading a job.

Text that travels between ops is a task path, `run id/step/task id`, or a list of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

# The names that generated files import, by module. A module is imported when somebody asks for it,
# as other parts of this package use modules of the runtime without Dagster.
PUBLIC: Final[Mapping[str, str]] = {
    name: module
    for module, names in {
        "artifacts": [
            "artifact_outputs",
            "items_output",
            "publish_artifacts",
            "publish_items",
        ],
        "cards": ["CardLinks"],
        "checks": ["ArtifactCheck", "CheckFunction", "check_artifacts", "checks_definitions"],
        "configs": ["FlowConfigs"],
        "events": ["StartConfig", "end_output", "event_spec", "publish_end"],
        "graph_assets": ["flow_asset", "start_config"],
        "executors": ["limited_executor", "processes_executor", "threads_executor"],
        "flow_code": ["CodePackage"],
        "io_manager": ["datastore_io_manager"],
        "notices": ["notify_of_failure", "notify_of_success"],
        "outputs": [
            "fanned_out",
            "flat",
            "foreach_list",
            "foreach_outputs",
            "nodes_output",
            "regrouped",
            "split_outputs",
            "switch_output",
            "task_output",
        ],
        "parameters": ["given_parameters", "given_values"],
        "partitions": [
            "EventPartitions",
            "PartitionParameters",
            "ScheduledRuns",
            "scheduled_partitions",
        ],
        "preload": ["PreloadedModules"],
        "release": ["require_runtime"],
        "settings": ["FlowSettings"],
        "siblings": ["definitions_of"],
        "sources": ["code_references", "flow_description", "step_description"],
        "steps": [
            "MANY_RETRIES",
            "foreach_options",
            "run_parallel_step",
            "run_recursive_step",
            "run_step",
            "start_run",
        ],
        "triggers": ["SENSOR_INTERVAL", "Trigger", "triggered_runs"],
        "warm": ["warm_processes"],
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    """One of the public names, imported when it is asked for."""
    if name in PUBLIC:
        return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    if sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
        raise AttributeError(name)  # Python goes on to look for a module of that name
    from metaflow_dagster.runtime.release import missing_name

    return missing_name(name)
