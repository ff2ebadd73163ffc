"""`@sandbox` runs a step's command in a wrapper, and keeps a record of the hooks that are called.

It stands for decorators such as `@kubernetes`: the code package is uploaded once a task is created,
and a fallback after the last failure of the user's code runs without the wrapper.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from metaflow.decorators import StepDecorator

# Leaves a mark in the environment, and becomes the command.
WRAPPER = "import os, sys; os.environ['SANDBOX'] = 'yes'; os.execvp(sys.argv[1], sys.argv[1:])"


class SandboxDecorator(StepDecorator):
    name = "sandbox"
    defaults = {"size": 1}
    package_url = None

    def record(self, hook: str, *details: Any) -> None:
        line = json.dumps([hook, self.attributes["size"], *details])
        with open(os.environ["SANDBOX_RECORD"], "a") as file:
            file.write(f"{line}\n")

    def step_init(self, flow, graph, step, decos, environment, flow_datastore, logger):
        self.step = step
        self.flow_datastore = flow_datastore

    def package_init(self, flow, step_name, environment):
        self.record("package_init", step_name)

    def runtime_init(self, flow, graph, package, run_id):
        self.package = package
        self.record("runtime_init", self.step, flow.name, list(graph.sorted_nodes), bool(run_id))

    def runtime_task_created(
        self, task_datastore, task_id, split_index, input_paths, is_cloned, ubf_context
    ):
        [(url, _)] = self.flow_datastore.save_data([self.package.blob], len_hint=1)
        type(self).package_url = url
        details = [split_index, len(input_paths), is_cloned, ubf_context]
        self.record("runtime_task_created", task_datastore.step_name, *details)

    def runtime_step_cli(self, cli_args, retry_count, max_user_code_retries, ubf_context):
        details = [retry_count, max_user_code_retries, ubf_context]
        self.record("runtime_step_cli", self.step, *details)
        if retry_count <= max_user_code_retries:
            cli_args.env["SANDBOX_PACKAGE"] = self.package_url
            cli_args.entrypoint[:0] = [sys.executable, "-c", WRAPPER]

    def runtime_finished(self, exception):
        self.record("runtime_finished", self.step, type(exception).__name__)
