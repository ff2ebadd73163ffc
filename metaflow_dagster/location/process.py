"""The compilation of a flow by its own command line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from metaflow_dagster.compilation import Compilation, take_over
from metaflow_dagster.option_checks import check_options
from metaflow_dagster.options import Options, given


class FlowNotCompiled(Exception):
    """A flow was not compiled; the message is the output of its command line."""

    def __init__(self, flow_file: str, output: str) -> None:
        self.flow_file = flow_file
        indented = "\n".join(f"    {line}".rstrip() for line in output.strip().splitlines())
        super().__init__(f"{flow_file} is not compiled:\n{indented}")


def compile_flow(
    flow_file: str,
    options: Options,
    directory: Path,
    *,
    output: str | None = None,
    working_directory: Path | None = None,
) -> Compilation:
    """Compile the flow that a file runs, for a place in a directory; nothing is written there.

    `output` is the name of the file there; default: what `dagster create` would call it.
    `FlowNotCompiled` says why not.
    """
    problems = list(check_options(options))
    if problems:
        raise FlowNotCompiled(flow_file, "\n".join(map(str, problems)))
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-") as temporary:
        handed_over = Path(temporary, "compilation")
        finished = subprocess.run(
            [
                sys.executable,
                # Python would take what begins with a dash for an option, and `-c…` for code.
                os.path.join(os.curdir, flow_file) if flow_file.startswith("-") else flow_file,
                "--quiet",
                "dagster",
                "create",
                *((output,) if output else ()),
                f"--output-dir={os.path.abspath(directory)}",
                f"--hand-over={handed_over}",
                *_arguments(options),
            ],
            cwd=working_directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        compilation = take_over(handed_over) if finished.returncode == 0 else None
    if compilation is None:
        raise FlowNotCompiled(flow_file, _error_text(finished))
    return compilation


def _arguments(options: Options) -> Iterator[str]:
    return map("=".join, given(options))


def _error_text(finished: subprocess.CompletedProcess[bytes]) -> str:
    if finished.returncode == 0:
        return "It has no flow: let it end with the call of a flow class, as in `MyFlow()`."
    output = finished.stdout.decode(errors="replace")
    return output if output.strip() else f"Its process ended with code {finished.returncode}."
