"""Containers without images: commands that run in a directory and an environment of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# What an image brings along: Python, here with the packages that a task installs first otherwise.
# The proxy, which nobody is, is for those who ask machines on the net, such as EC2's metadata.
IMAGE = {
    "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    "METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1",
    "LANG": "C.UTF-8",
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
}


class Container:
    """A command that was started, with nothing of this process's environment.

    The directory keeps the description from which it was made, in `job.json`, and its output, in
    `output`; it works in `work`.
    """

    def __init__(
        self,
        directory: Path,
        description: object,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.directory = directory
        self.command = list(command)
        self.environment = dict(environment)
        self.started_at = time.time()
        (directory / "work").mkdir(parents=True)
        (directory / "job.json").write_text(json.dumps(description, indent=2))
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=directory / "work",
                env={**IMAGE, "HOME": str(directory / "work"), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; as a shell gives it if a signal has ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.directory / "output").read_text(errors="replace")

    def stop(self) -> None:
        """End it with all it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
