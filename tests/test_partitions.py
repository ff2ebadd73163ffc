"""Flows whose runs have partitions, on real Dagsters: backfills, failures and kills."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, RunsFilter

from tests.operated import Place, Server, make_databases, place_of, served, until
from tests.services.postgres import postgres_server
from tests.support import path_with_this_python, use_client

pytestmark = pytest.mark.slow

FLOW = """
import os, time
from pathlib import Path
from metaflow import FlowSpec, Parameter, step

class SalesFlow(FlowSpec):
    '''Sales of a day in a region.'''
    day = Parameter("day", required=True)
    until = Parameter("until", default="none")
    region = Parameter("region", default="nowhere")
    size = Parameter("size", default=2)

    @step
    def start(self):
        self.items = list(range(self.size))
        self.starts = os.getpid()
        self.next(self.sell, foreach="items")

    @step
    def sell(self):
        name = f"{self.day} {self.region}"
        if Path(f"fails {name}").exists():
            raise ValueError("no luck")
        if Path(f"waits {name}").exists():
            Path(f"waiting {name}").touch()
            time.sleep(60)
        self.sold = len(self.day) * self.input
        self.next(self.total)

    @step
    def total(self, inputs):
        self.merge_artifacts(inputs, include=["starts"])
        self.sum = sum(one.sold for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        self.label = f"{self.day}..{self.until} {self.region}: {self.sum}"

if __name__ == "__main__":
    SalesFlow()
"""

END = AssetKey(["metaflow.SalesFlow.end"])
BY_DAY_AND_REGION = ("--partition=day=daily:2026-01-01", "--partition=region=static:eu,us")
DAYS = [f"2026-01-{day:02}" for day in range(2, 5)]
KEYS = [f"{day}|{region}" for day in DAYS for region in ("eu", "us")]
FAILING, KILLED = "2026-01-03|eu", "2026-01-04|us"
RUNS_AT_ONCE = "concurrency:\n  runs:\n    max_concurrent_runs: 2\n"
REEXECUTE = """
mutation ($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: FROM_FAILURE}) {
    __typename ... on LaunchRunSuccess { run { runId } }
  }
}
"""


@contextmanager
def storage(kind: str) -> Iterator[str]:
    """The part of `dagster.yaml` that says where the history is."""
    if kind == "sqlite":
        yield ""
        return
    with postgres_server() as server:
        yield f'storage:\n  postgres:\n    postgres_url: "{server.url}"\n'


def runs_by_partition(place: Place) -> dict[str, list[Any]]:
    """Metaflow's successful runs, by the partition that they are tagged with."""
    from metaflow import Flow

    found: dict[str, list[Any]] = {}
    use_client(place.directory)
    for run in Flow("SalesFlow"):
        (key,) = [tag[10:] for tag in run.user_tags if tag.startswith("partition:")]
        if run.successful:
            found.setdefault(key, []).append(run)
    return found


def natively(place: Place, day: str, region: str) -> dict[str, Any]:
    """The artifacts that a run of Metaflow's own scheduler ends with."""
    from metaflow import Run

    file = place.directory / "native-id"
    given = [f"--day={day}", f"--region={region}", f"--run-id-file={file}"]
    subprocess.run(
        [sys.executable, place.flow_file, "--quiet", "run", *given],
        cwd=place.directory,
        env={**os.environ, "PATH": path_with_this_python()},
        check=True,
        capture_output=True,
        timeout=120,
    )
    use_client(place.directory)
    return artifacts(Run(f"SalesFlow/{file.read_text()}"))


def artifacts(run: Any) -> dict[str, Any]:
    """The artifacts at the end of a run, but for the process that began it."""
    names = {artifact.id for artifact in run["end"].task} - {"starts"}
    return {name: run["end"].task[name].data for name in names}


def dagster_runs(place: Place, key: str) -> Sequence[Any]:
    """Dagster's runs of a partition, the latest first."""
    with DagsterInstance.from_config(str(place.home)) as instance:
        return instance.get_runs(RunsFilter(tags={"dagster/partition": key}))


def flag(place: Place, word: str, key: str) -> Path:
    day, region = key.split("|")
    return place.directory / f"{word} {day} {region}"


def kill_when_it_waits(place: Place, key: str) -> None:
    """Let the process of the run of a partition end as by a lack of memory."""
    until(lambda: flag(place, "waiting", key).exists())
    (run,) = dagster_runs(place, key)
    os.kill(place.worker(run.tags["metaflow/run_id"]), signal.SIGKILL)
    flag(place, "waits", key).unlink()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_backfill_by_the_daemon(kind: str, tmp_path: Path) -> None:
    """One partition fails, the run of one is killed: each is there once in the end."""
    with storage(kind) as settings:
        place = place_of(tmp_path, "sales_flow.py", FLOW, RUNS_AT_ONCE + settings)
        assert place.dagster("create", "sales.py", *BY_DAY_AND_REGION).returncode == 0
        make_databases(place)
        flag(place, "fails", FAILING).touch()
        flag(place, "waits", KILLED).touch()
        with served(place, "dagster dev -f sales.py") as server:
            url = f"--url={server.url}"
            arguments = ["backfill", url, f"--from={DAYS[0]}", f"--to={DAYS[-1]}", "--wait"]
            backfill = start_command(place, *arguments)
            kill_when_it_waits(place, KILLED)
            said, errors = backfill.communicate(timeout=300)
            assert backfill.returncode == 1, said + errors
            assert "4 of 6 partitions have succeeded, 2 failed" in said
            failed = re.findall(r"Partition (\S+) has failed: run (dagster-\w+)", errors)
            assert [key for key, _ in failed] == [FAILING, KILLED]
            check_reexecution(place, server, failed[0][1])
            result = place.dagster("backfill", url, "--failed", "--wait")
            assert result.returncode == 0, result.stderr
            assert "A backfill of 1 partition is started" in result.stdout
            nothing = place.dagster("backfill", url, "--failed", "--wait")
            assert "there is nothing to do" in nothing.stdout
            check_what_is_there(place)


def start_command(place: Place, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, place.flow_file, "--quiet", "dagster", *arguments],
        cwd=place.directory,
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_reexecution(place: Place, server: Server, failed: str) -> None:
    """From failure, a partition goes on in the same Metaflow run."""
    flag(place, "fails", FAILING).unlink()
    (parent,) = dagster_runs(place, FAILING)
    answer = server.ask(REEXECUTE, parent=parent.run_id)["launchRunReexecution"]
    again = answer["run"]["runId"]
    until(lambda: dagster_runs(place, FAILING)[0].is_finished)
    latest = dagster_runs(place, FAILING)[0]
    assert (latest.run_id, latest.status.value) == (again, "SUCCESS")
    assert latest.tags["metaflow/run_id"] == failed
    (run,) = runs_by_partition(place)[FAILING]
    assert run.id == failed


def check_what_is_there(place: Place) -> None:
    found = runs_by_partition(place)
    assert Counter({key: len(runs) for key, runs in found.items()}) == Counter(KEYS)
    with DagsterInstance.from_config(str(place.home)) as instance:
        assert instance.get_materialized_partitions(END) == set(KEYS)
    for key in (FAILING, KILLED, KEYS[0]):
        assert artifacts(found[key][0]) == natively(place, *key.split("|"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place whose days are partitions, with the end of each in another parameter."""
    directory = tmp_path_factory.mktemp("partitions")
    place = place_of(directory, "sales_flow.py", FLOW)
    options = ["--partition=day,until=daily:2026-01-01", "--partition=region=dynamic:regions"]
    created = place.dagster("create", *options)
    assert "day     str, the key of the partition: daily from 2026-01-01" in created.stdout
    assert "dagster trigger --partition KEY" in created.stdout
    yield place
    place.end_all_runs()


def label(place: Place, run_id: str) -> Any:
    from metaflow import Run

    use_client(place.directory)
    run = Run(f"SalesFlow/{run_id}")
    return run.data.label, sorted(tag for tag in run.user_tags if "partition" in tag)


def test_run_of_a_partition(place: Place) -> None:
    """Both parameters are of the time window, and a region that is not there yet is added."""
    key = "2026-01-02|eu"
    run_id = place.trigger("--wait", f"--partition={key}", "--size=3")
    assert label(place, run_id) == ("2026-01-02..2026-01-03 eu: 30", [f"partition:{key}"])
    with DagsterInstance.from_config(str(place.home)) as instance:
        assert instance.get_dynamic_partitions("regions") == ["eu"]
        assert instance.get_materialized_partitions(END) >= {key}


REFUSED = (
    (["trigger", "--partition=2026-01-02"], "has no partition '2026-01-02'"),
    (["trigger", "--day=2026-01-02"], "have partitions by day and region. Choose one"),
    (["trigger"], "If day is the key of a partition, give --partition instead."),
    (["trigger", "--partition=2026-01-02|eu", "--day=x"], "is given by --partition alone"),
    (["backfill"], "Choose partitions in one way"),
    (["backfill", "--from=2026-01-02"], "A range takes both --from and --to."),
    (["backfill", "--from=2026-01-02", "--to=x"], "has no partition 'x'"),
    (["backfill", "2026-01-02|eu", "2027"], "has no partition '2027'"),
)


def test_refused(place: Place) -> None:
    before = place.dagster("list-runs").stdout
    for arguments, said in REFUSED:
        result = place.dagster(*arguments)
        assert result.returncode != 0, arguments
        assert said in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
    assert place.dagster("list-runs").stdout == before


def test_backfill_here_and_resume(place: Place) -> None:
    """Without a server the command launches the runs; `resume` keeps the partition."""
    keys = ["2026-02-01|us", "2026-02-02|us"]
    flag(place, "fails", keys[1]).touch()
    result = place.dagster("backfill", *keys, "--size=1", "--tag=team:x")
    assert result.returncode == 1
    assert "2 partitions have succeeded, 1 failed" in " ".join(result.stdout.split())
    (failed,) = re.findall(r"Partition 2026-02-02\|us has failed: run (\S+)\.", result.stderr)
    flag(place, "fails", keys[1]).unlink()
    resumed = place.started("resume", "--run-id", failed, "--wait")
    assert label(place, resumed) == ("2026-02-02..2026-02-03 us: 0", [f"partition:{keys[1]}"])
    assert place.recorded(resumed).tags["dagster/partition"] == keys[1]
    with DagsterInstance.from_config(str(place.home)) as instance:
        assert instance.get_materialized_partitions(END) >= set(keys)
