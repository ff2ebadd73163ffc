"""The document of what becomes of runs when something fails, made of the tests that let it fail.

python -m tests.faults_doc          says whether docs/reliability.md is current
python -m tests.faults_doc --write  writes it
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.documents import check_or_write

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"

# The files whose tests are the rows of the table, in its order; those that let nothing fail have no
# docstring.
FILES = (
    "tests/test_faults.py",
    "tests/faults/test_dagster.py",
    "tests/test_restart.py",
    "tests/test_celery.py",
    "tests/test_k8s.py",
    "tests/unit/runtime/test_killed_pairs.py",
    "tests/faults/test_machine.py",
    "tests/faults/test_definitions.py",
)

INTRODUCTION = """\
# Reliability

A compiled flow keeps nothing of its own: what its tasks have made is in Metaflow's datastore, and
what has happened in Dagster's database. So a run that has ended for whatever reason can be carried
on, and what has finished is not run again.

## In production

Dagster's parts are processes of their own, which can fail and be started again one by one:

```sh
dagster code-server start -f scoresflow_dagster.py -h 0.0.0.0 -p 4000
dagster-daemon run -w workspace.yaml
dagster-webserver -w workspace.yaml -h 0.0.0.0 -p 3000 --db-pool-recycle 60
```

They share a `dagster.yaml` in their `DAGSTER_HOME`, for which `dagster-postgres` has to be
installed:

```yaml
storage:
  postgres:
    postgres_url:
      env: DAGSTER_POSTGRES_URL
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 180
  cancel_timeout_seconds: 60
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
```

* Without PostgreSQL, Dagster keeps its history in SQLite files, which one machine can use.
* `run_monitoring` lets the daemon end what does not start or does not end when it is told to.
* `run_retries` lets the daemon re-execute, from its failure, a run whose process has ended
  unexpectedly: the same Metaflow run goes on. With `retry_on_asset_or_op_failure: false` that is
  not done for runs in which a step has failed, of which Metaflow's `@retry` has had the say.
* `--db-pool-recycle` is the age in seconds at which the webserver gives up a connection to the
  database. By default that is an hour, and after a restart of the database some of its first
  answers are errors.

The runs of `dagster trigger` without `--url` need none of these parts
([operate.md](operate.md#where-runs-are-launched)).

To carry on with a run by hand, re-execute it from its failure in Dagster's UI, which continues the
same Metaflow run, or resume it as a new one
([semantics.md](semantics.md#carrying-on-after-a-failure)):

```sh
python scores_flow.py dagster resume --run-id dagster-74c8ad6e2341
```

## What happens when something fails

In each of these tests something really fails while a run goes on. At the end of all of them, the
run has succeeded, or it has failed and is then carried on to success; Metaflow takes no task for
done that is not, no artifact is lost, and no process is left.

"""

LIMITS = """
## Limits

* Dagster tries for some eleven seconds to reach its database before what wanted to write to it
  fails. If the database is away for minutes, nobody may be able to record even that a run has
  failed; it is then shown as started, as when its code server is killed with it.
* Dagster's default run launcher does not notice that a run has gone together with its code server.
  The launchers of containers do, such as `K8sRunLauncher`. For any launcher, `--workflow-timeout`
  bounds the time for which a run is taken for one that goes on.
* Metaflow's client takes the attempt with the latest time for the one that counts. If the clock is
  set back between two attempts of a task, it shows the earlier one of a task that has succeeded.

## Load

Large runs, and many at once, through the daemon with PostgreSQL; `make load` measures it on your
machine. A run does two tasks at once (`--max-workers 2`), under Metaflow's own scheduler too. Times
are from the first command, `dagster trigger` or `python FLOW.py run`, to the end of the last run;
the commands of the last line are all started at once. All tasks of all runs are there in the end,
as Metaflow's client counts them.

| load | through the daemon | Metaflow itself | a task | events | database |
|---|---|---|---|---|---|
| a foreach over 1,000 items, 1,003 tasks | 189 s | 162 s | 188 ms | 11,031 | 16 MiB |
| 30 items in each of 30, 963 tasks | 176 s | 137 s | 183 ms | 10,599 | 16 MiB |
| 20 runs at once of 11 tasks | 79 s | 46 s | 358 ms | 2,380 | 4 MiB |

On two cores of an Intel Xeon, with Python 3.11, Metaflow 2.19.39 and Dagster 1.13.27. A run has a
process that loads Dagster, two or three seconds of CPU, which is what twenty small ones cost more.

This page is written by `make docs`, from the names and descriptions of the tests.
"""


@dataclass(frozen=True)
class Fault:
    """A test in which something fails: its docstring says what happens then."""

    file: str
    test: str
    description: str

    @property
    def name(self) -> str:
        """What fails, in words."""
        words = self.test.removeprefix("test_").replace("_", " ")
        return words[0].upper() + words[1:]


def faults() -> list[Fault]:
    """The tests of all files that say what happens, in their order."""
    return [fault for file in FILES for fault in found_in(file) if fault.description]


def found_in(file: str) -> Iterator[Fault]:
    """All tests of a file."""
    for statement in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_"):
            description = ast.get_docstring(statement) or ""
            yield Fault(file, statement.name, " ".join(description.split()))


def document() -> str:
    """The text of the document."""
    rows = [
        f"| {fault.name} | {fault.description} | [{fault.test}](../{fault.file}) |"
        for fault in faults()
    ]
    table = "\n".join(["| what fails | what happens | test |", "|---|---|---|", *rows])
    return f"{INTRODUCTION}{table}\n{LIMITS}"


if __name__ == "__main__":
    sys.exit(check_or_write(DOCUMENT, document()))
