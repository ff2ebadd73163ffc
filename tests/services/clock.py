"""A clock that can be set, for some processes of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services.installed import installed

SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Clock:
    """The clock of all processes with its environment, and of those that they start."""

    library: Path
    offset: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET_FILE": str(self.offset)}

    def set(self, seconds: int) -> None:
        """Let it differ from that of the machine, at once for everybody."""
        new = self.offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.offset)


def new_clock(directory: Path) -> Clock:
    """A clock that is right as yet; it keeps its files in a directory."""
    clock = Clock(directory / "clock.so", directory / "offset")
    command = [installed("cc"), "-shared", "-fPIC", "-O1", "-o", clock.library, SOURCE]
    subprocess.run(command, check=True, timeout=60)
    clock.set(0)
    return clock
