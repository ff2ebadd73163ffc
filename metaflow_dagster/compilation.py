"""The result of a compilation, and its way from the process of the flow to another.

Metaflow resolves a flow's configuration in the flow's own process, so that is where it is compiled.
Whoever wants more than one flow, or is not to import Metaflow, takes over what came out.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metaflow_dagster.ir.flow import Flow


@dataclass(frozen=True, slots=True)
class Compilation:
    """A compiled flow: the job's name, the text for the file at `output`, the plan as text.

    `beside` are texts of further files that it needs in its directory, by their names. `code` is
    the content of the flow's code package, which has to be stored before the text is.
    """

    flow: Flow
    job_name: str
    output: Path
    text: str
    plan: str
    code: bytes | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> Mapping[Path, str]:
        """All that is to be written; the file of the flow comes last."""
        needed = {self.output.with_name(name): text for name, text in self.beside.items()}
        return {**needed, self.output: self.text}


def hand_over(compilation: Compilation, file: Path) -> None:
    """Leave a compilation to the process that has started this one."""
    file.write_bytes(pickle.dumps(compilation))


def take_over(file: Path) -> Compilation | None:
    """The compilation that was left there, by this version of the package; None if none was."""
    if not file.exists():
        return None
    compilation: Compilation = pickle.loads(file.read_bytes())
    return compilation
