"""The example flows: by the commands of the page that shows them, and by Metaflow alone."""

from __future__ import annotations

import base64
import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import blocks, whole_page
from tests.golden import EXAMPLE_CASES, FLOWS, Case
from tests.operated import Place, make_databases, running_server, until
from tests.project import ROOT
from tests.support import (
    RunSnapshot,
    Workspace,
    checked,
    dagster_run,
    differences,
    log_differences,
    path_with_this_python,
    snapshot,
    use_client,
)

pytestmark = pytest.mark.slow

WINE, ETL, FORECAST, REPORT = EXAMPLE_CASES
WAYS = ("load", "nothing_new", "quarantine")  # of the switch
BAD_DAY = "2026-03-09.csv"
DAILY, NEVER_NOW = "30 6 * * *", "30 6 1 1 *"  # lest the schedule starts a run of its own
# What has no equality, and what names a run or the directory of the flow.
NOT_COMPARED = ("model", "source", "_graph_info")

PAGE = whole_page("docs/examples.md").relative_to(ROOT).as_posix()
BLOCKS = [(block.language, block.text) for block in blocks(PAGE)]
SET_UP, SERVE, *COMMANDS = (text for language, text in BLOCKS if language == "sh")
(LISTING,) = (block for block in COMMANDS if "list-runs" in block)
SHOWN = {
    command: text
    for (language, command), (other, text) in pairwise(BLOCKS)
    if (language, other) == ("sh", "text")
}
URL = "http://127.0.0.1:3000"


@dataclass
class Reader:
    """Somebody who gives the commands of the page, and what these have printed."""

    directory: Path
    url: str = URL
    state: list[str] = field(default_factory=list)  # what outlives a command in a terminal
    printed: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where the page has the flows copied to."""
        examples = self.directory / "build" / "examples"
        return Place(examples, examples / "dagster_home")

    def give(self, block: str) -> str:
        """Give the commands of a block, in the order in which they stand there."""
        script = "\n".join([*self.state, block]).replace(URL, self.url)
        self.printed[block] = checked(
            ["bash", "-euc", script],
            self.directory,
            PATH=path_with_this_python(),
            METAFLOW_USER="reader",
        )
        self.state += [line for line in block.splitlines() if line.startswith(("cd ", "export "))]
        return self.printed[block]

    def runs(self, case: Case) -> list[Any]:
        """The runs of a flow, the oldest first."""
        from metaflow import Flow

        use_client(self.directory)
        return sorted(Flow(case.class_name), key=lambda run: run.created_at)

    def snapshots(self, case: Case) -> list[RunSnapshot]:
        """What the runs of a flow have left behind, the oldest first."""
        return [snapshot(self.directory, run.pathspec, NOT_COMPARED) for run in self.runs(case)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader who has given all commands, and has waited for what events have started."""
    found = Reader(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(FLOWS, found.directory / "fixtures" / "flows")
    etl = found.directory / "fixtures" / "flows" / ETL.flow_file
    source = etl.read_text(encoding="utf-8")
    assert DAILY in source
    etl.write_text(source.replace(DAILY, NEVER_NOW), encoding="utf-8")
    (found.directory / ".metaflow").mkdir()
    found.give(SET_UP)
    make_databases(found.place)
    (file,) = re.findall(r"^dagster dev -f (\S+)\n$", SERVE)
    with running_server(found.place, file) as server:
        found.url = server.url
        for block in COMMANDS:
            found.give(block)
        until(lambda: succeeded(found.place, FORECAST) == succeeded(found.place, REPORT) == 3)
        found.give(LISTING)
    return found


def succeeded(place: Place, case: Case) -> int:
    """How many runs of a flow have succeeded."""
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    wanted = RunsFilter(job_name=case.class_name, statuses=[DagsterRunStatus.SUCCESS])
    with DagsterInstance.from_config(str(place.home)) as instance:
        return instance.get_runs_count(wanted)


def test_runs_that_events_have_started_are_listed(reader: Reader) -> None:
    assert reader.printed[LISTING].count("Succeeded") == 6


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.split()[-1])
def test_commands_print_what_is_shown(reader: Reader, command: str) -> None:
    printed, shown = reader.printed[command], SHOWN[command]
    if "--wait" in command:  # what is printed while the run goes on depends on the machine
        assert set(shown.splitlines()) <= set(printed.splitlines())
    else:
        assert printed == shown


def test_shown_code_is_that_of_the_flows() -> None:
    code = "".join((FLOWS / case.flow_file).read_text(encoding="utf-8") for case in EXAMPLE_CASES)
    lines = {line.strip() for line in code.splitlines()}
    shown = [text for language, text in BLOCKS if language == "python"]
    assert shown
    assert [line for text in shown for line in text.splitlines() if line not in lines] == []


def test_runs_of_the_page_take_each_way_of_the_switch(reader: Reader) -> None:
    taken = [tuple(way for way in WAYS if way in run.tasks) for run in reader.snapshots(ETL)]
    assert taken == [("load",), ("nothing_new",), ("load", "quarantine")]


def test_each_row_is_loaded_once(reader: Reader) -> None:
    with closing(sqlite3.connect(reader.place.directory / "sales.db")) as database:
        numbers = [number for (number,) in database.execute("SELECT number FROM sales")]
        aside = [entry for (entry,) in database.execute("SELECT entry FROM quarantine")]
    assert sorted(numbers) == [*range(1001, 1044), 1045, 1048]
    bad = re.findall(r"\"number\": \"(\d+)\"", " ".join(aside))
    assert sorted(bad) == ["1044", "1046", "1047", "1048"]


def test_events_start_forecasts_with_their_payload(reader: Reader) -> None:
    runs = reader.runs(FORECAST)
    database = str(reader.place.directory.resolve() / "sales.db")
    assert [(run.data.day, run.data.database) for run in runs] == [
        ("2026-03-08", database),
        ("2026-03-09", database),
        ("2026-03-05", "sales.db"),
    ]
    assert [run.data.days[0] for run in runs] == ["2026-03-09", "2026-03-10", "2026-03-06"]


def test_reports_are_of_the_forecasts_that_have_started_them(reader: Reader) -> None:
    forecasts, reports = reader.runs(FORECAST), reader.runs(REPORT)
    assert [run.data.source for run in reports] == [run.pathspec for run in forecasts]
    assert [run.data.forecasts for run in reports] == [run.data.forecasts for run in forecasts]


def test_leaderboard_is_in_the_card_that_dagster_shows(reader: Reader) -> None:
    from dagster import DagsterInstance, RunsFilter

    with DagsterInstance.from_config(str(reader.place.home)) as instance:
        (run,) = instance.get_runs(RunsFilter(job_name=WINE.class_name))
        shown = dagster_run(instance, run.run_id).metadata["op_end"]
    html = Path(shown["card default"]).read_text(encoding="utf-8")
    (data,) = re.findall(r'__MF_DATA__\["[^"]+"\] = "([^"]+)"', html)
    drawn = base64.b64decode(data).decode()
    (training,) = reader.runs(WINE)
    assert "# Leaderboard" in drawn
    assert all(f"{each['accuracy']:.3f}" in drawn for each in training.data.leaderboard)


def test_winner_is_the_most_accurate(reader: Reader) -> None:
    (run,) = reader.runs(WINE)
    accuracies = [task.data.result["accuracy"] for task in run["train"]]
    assert len(accuracies) == len(run.data.leaderboard) == 2
    assert run.data.winner == run.data.leaderboard[0]
    assert run.data.winner["accuracy"] == max(accuracies)


class Native(Workspace):
    """The example flows without Dagster."""

    def run(self, case: Case, **parameters: Any) -> RunSnapshot:
        """What a run leaves behind."""
        run_id = self.run_natively(case, parameters)
        return snapshot(self.root, f"{case.class_name}/{run_id}", NOT_COMPARED)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(tmp_path_factory.mktemp("native") / "fixtures")


@pytest.fixture(scope="module")
def loaded(native: Native) -> Sequence[RunSnapshot]:
    """The runs with new data, with none and with bad data."""
    data = native.flows / "data"
    runs = [native.run(ETL), native.run(ETL)]
    shutil.copy(data / "late" / BAD_DAY, data / "sales")
    return [*runs, native.run(ETL)]


def assert_same(natively: RunSnapshot, by_dagster: RunSnapshot) -> None:
    """But for the user: the jobs of the page are deployed, and so have a production token."""
    assert by_dagster.successful
    alike = replace(by_dagster, system_tags=natively.system_tags)
    assert [*differences(natively, alike), *log_differences(natively, alike)] == []


def test_training_leaves_the_same(native: Native, reader: Reader) -> None:
    (by_dagster,) = reader.snapshots(WINE)
    search = {"nearest neighbours": {"n_neighbors": [1, 5]}}
    assert_same(native.run(WINE, folds=3, search_space=search), by_dagster)


def test_etl_leaves_the_same(loaded: Sequence[RunSnapshot], reader: Reader) -> None:
    for natively, by_dagster in zip(loaded, reader.snapshots(ETL), strict=True):
        assert_same(natively, by_dagster)


def test_forecast_and_report_leave_the_same(
    native: Native, loaded: Sequence[RunSnapshot], reader: Reader
) -> None:
    assert_same(native.run(FORECAST, day="2026-03-05"), reader.snapshots(FORECAST)[-1])
    assert_same(native.run(REPORT), reader.snapshots(REPORT)[-1])


def test_corrected_rows_are_new_ones(native: Native, loaded: Sequence[RunSnapshot]) -> None:
    file = native.flows / "data" / "sales" / BAD_DAY
    file.write_text(file.read_text().replace("2026-03-90", "2026-03-09"))
    (validated,) = native.run(ETL).tasks["validate"].values()
    assert validated.artifacts["outcome"] == "load"
    assert [artifact["number"] for artifact in validated.artifacts["good"]] == [1047]
