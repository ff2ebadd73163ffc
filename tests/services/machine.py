"""A machine with a disk of its own: its processes see an empty disk in place of a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.installed import missing

ROOT = Path(__file__).resolve().parents[2]
NEW_DISK = ("unshare", "--mount", "--propagation", "private")


def machine(
    directory: Path,
    files: Sequence[str],
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
) -> subprocess.Popen[bytes]:
    """Start a command on a machine that has no more of the directory than some of its files."""
    mount = [*NEW_DISK, "true"]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        missing("a mount namespace")
    inside = [sys.executable, "-m", __name__, str(directory), *files, "--", *command]
    places = {"HOME": directory, "TMPDIR": directory / "tmp", "DAGSTER_HOME": directory / "dagster"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [*NEW_DISK, *inside],
            cwd=ROOT,
            env={**os.environ, **environment, **{one: str(it) for one, it in places.items()}},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def become_command(directory: Path, arguments: Sequence[str]) -> None:
    """In the new namespace: hide the directory behind an empty disk, and become the command."""
    end = arguments.index("--")
    contents = {name: (directory / name).read_bytes() for name in arguments[:end]}
    subprocess.run(["mount", "-t", "tmpfs", "none", str(directory)], check=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    for name in ("tmp", "dagster"):
        (directory / name).mkdir()
    os.chdir(directory)
    command = arguments[end + 1 :]
    os.execvp(command[0], command)


if __name__ == "__main__":
    become_command(Path(sys.argv[1]), sys.argv[2:])
