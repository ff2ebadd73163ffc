"""Containers without images: commands that run in a directory and an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# What an image brings along: Python, here with the packages that a task installs first otherwise.
# The proxy, which nobody is, is for those who ask machines on the net, such as EC2's metadata.
IMAGE = {
    "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    "METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1",
    "LANG": "C.UTF-8",
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
}


# Its value is the directory of the container, by which all that belongs to it is found.
MARKER = "CONTAINER_OF_THE_TESTS"


class Container:
    """A command that was started, with nothing of this process's environment.

    The directory keeps the description from which it was made, in `job.json`, and its output, in
    `output`; it works in `work`, which begins with what the image has there.
    """

    def __init__(
        self,
        directory: Path,
        description: object,
        command: Sequence[str],
        environment: Mapping[str, str],
        image: Path | None = None,
    ) -> None:
        self.directory = directory
        self.command = list(command)
        self.environment = dict(environment)
        self.started_at = time.time()
        (directory / "work").mkdir(parents=True)
        if image is not None:
            shutil.copytree(image, directory / "work", dirs_exist_ok=True)
        (directory / "job.json").write_text(json.dumps(description, indent=2))
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=directory / "work",
                env={**IMAGE, **self._own_variables(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _own_variables(self) -> dict[str, str]:
        """What is different in every container, as it has a disk of its own."""
        work = str(self.directory / "work")
        return {"HOME": work, "TMPDIR": work, MARKER: str(self.directory)}

    @property
    def exit_code(self) -> int | None:
        """None while it runs; as a shell gives it if a signal has ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.directory / "output").read_text(errors="replace")

    @property
    def processes(self) -> list[psutil.Process]:
        """All that runs in it, also in sessions of their own."""
        return [process for process in psutil.process_iter() if self._is_inside(process)]

    def _is_inside(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return process.environ().get(MARKER) == str(self.directory)
        return False

    def ask_to_end(self) -> None:
        """Send its first process the signal that says so, as the end of every container begins."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it with all it has started."""
        while inside := self.processes:
            for process in inside:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
