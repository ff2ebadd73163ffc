"""How long a flow takes under Metaflow's own scheduler and as a Dagster job.

    python tests/bench.py [REPETITIONS]

The two take turns, so that what else the machine does meets both alike.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

ITEMS = 8
FLOW = f"""\
from metaflow import FlowSpec, step


class BenchFlow(FlowSpec):
    @step
    def start(self):
        self.items = list(range({ITEMS}))
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.square = self.input**2
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.total = sum(one.square for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.total == {sum(n * n for n in range(ITEMS))}


if __name__ == "__main__":
    BenchFlow()
"""
NATIVE = [sys.executable, "flow.py", "--quiet", "run"]
CREATE = [sys.executable, "flow.py", "--quiet", "dagster", "create", "job.py"]
DAGSTER = [sys.executable, "-m", "dagster", "job", "execute", "-f", "job.py", "-j", "BenchFlow"]


def main() -> None:
    """Print the times and how they compare."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-bench-") as name:
        directory = Path(name)
        environment = prepare(directory)
        seconds(CREATE, directory, environment)
        native, dagster = [], []
        for _ in range(repetitions):
            native.append(seconds(NATIVE, directory, environment))
            dagster.append(seconds(DAGSTER, directory, environment))
    print(f"{ITEMS + 3} tasks, {os.cpu_count()} cores, median of {repetitions}")
    print(f"  {'flow.py run':<20} {report(native)}")
    print(f"  {'dagster job execute':<20} {report(dagster)}")
    print(f"  {'ratio':<20} {median(dagster) / median(native):6.2f}")


def prepare(directory: Path) -> dict[str, str]:
    """Write the flow and an empty Dagster home; return the environment of the runs."""
    (directory / "flow.py").write_text(FLOW)
    (directory / ".metaflow").mkdir()
    home = directory / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("METAFLOW_", "DAGSTER_"))
    }
    environment["METAFLOW_HOME"] = str(directory / ".metaflow_config")
    environment["METAFLOW_USER"] = "bench"  # Metaflow refuses to work for root or for nobody
    environment["DAGSTER_HOME"] = str(home)
    return environment


def seconds(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> float:
    """How long a command takes; ends the benchmark if it fails."""
    started = time.monotonic()
    finished = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}")
    return time.monotonic() - started


def report(times: Sequence[float]) -> str:
    """The median, with the fastest and the slowest."""
    return f"{median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})"


if __name__ == "__main__":
    main()
