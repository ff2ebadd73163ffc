"""How long generated files are, and how long it takes to generate them.

python -m tests.bench.generated
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from metaflow_dagster.emit import SHARED_MODULE, emit_shared_runtime
from metaflow_dagster.emit.module import MARK_OF_FLOW
from metaflow_dagster.options import RUNTIMES
from tests.golden import FLOW_CASES, FLOWS, GOLDEN, isolate

TIMES = 4  # of which the fastest counts


def lines(name: str) -> list[str]:
    """The lines of a golden file."""
    return (GOLDEN / f"{name}_dagster.py").read_text(encoding="utf-8").splitlines()


def sizes() -> Iterator[tuple[str, str]]:
    """What is measured in lines, and the result."""
    inline = lines("linear_inline")
    own = len(inline) - inline.index(MARK_OF_FLOW)
    shared = len(emit_shared_runtime().splitlines())
    flows = [len(lines(str(case))) for case in FLOW_CASES[:20]]
    yield "linear, installed", f"{len(lines('linear'))} lines"
    yield "forecast, installed", f"{len(lines('forecast'))} lines"
    yield "linear, inline", f"{len(inline)} lines, {100 * own / len(inline):.1f} % its own"
    yield f"{SHARED_MODULE}.py", f"{shared} lines"
    yield "directory of 20 flows", f"{shared} + {sum(flows)} lines"


def seconds(*command: str, directory: str) -> float:
    """Seconds of CPU that a command of the flow takes."""
    return min(_seconds([sys.executable, "linear.py", *command], directory) for _ in range(TIMES))


def _seconds(command: list[str], directory: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def times() -> Iterator[tuple[str, str]]:
    """What `create` takes beyond `show`, by how the runtime gets to the file."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "linear.py").write_bytes((FLOWS / "linear.py").read_bytes())
        show = seconds("show", directory=directory)
        for runtime in RUNTIMES:
            create = ("dagster", "create", f"{runtime}.py", "--runtime", runtime)
            cost = seconds(*create, directory=directory) - show
            yield f"create --runtime {runtime}, beyond show", f"{cost:.2f} s of CPU"


def main() -> None:
    for what, result in [*sizes(), *times()]:
        print(f"{what:40} {result}")


if __name__ == "__main__":
    isolate()
    os.environ["USERNAME"] = "tester"
    main()
