"""The example flows, by Metaflow and by Dagster, and the commands of the page that shows them."""

from __future__ import annotations

import base64
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.golden import EXAMPLE_CASES, FLOWS, Case
from tests.operated import Place, make_databases, running_server, until
from tests.project import ROOT
from tests.support import (
    DagsterRun,
    RunSnapshot,
    Workspace,
    checked,
    differences,
    log_differences,
    path_with_this_python,
    snapshot,
    use_client,
)

pytestmark = pytest.mark.slow

WINE, ETL, FORECAST, REPORT = EXAMPLE_CASES
WAYS = ("load", "nothing_new", "quarantine")  # of the switch, in the order in which they are taken
BAD_DAY = "2026-03-09"
NO_EQUALITY = ("model",)
SMALL_SEARCH = {
    "folds": 3,
    "search_space": {
        "random forest": {"max_depth": [1, 4]},
        "nearest neighbours": {"n_neighbors": [1, 15]},
    },
}

DOCUMENT = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
SET_UP, SERVE, *COMMANDS = (text for language, text in BLOCKS if language == "sh")
SHOWN = {
    command: text
    for (language, command), (other, text) in pairwise(BLOCKS)
    if (language, other) == ("sh", "text")
}
URL = "http://127.0.0.1:3000"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("examples") / "fixtures")


def read(workspace: Workspace, case: Case, run_id: str) -> RunSnapshot:
    return snapshot(workspace.root, f"{case.class_name}/{run_id}", NO_EQUALITY)


def by_metaflow(workspace: Workspace, case: Case, **parameters: Any) -> RunSnapshot:
    return read(workspace, case, workspace.run_natively(case, parameters))


def by_dagster(workspace: Workspace, case: Case) -> RunSnapshot:
    run = workspace.run_in_process(case, {})
    assert run.succeeded, run.failures
    return read(workspace, case, run.metaflow_run_id)


def all_differences(expected: RunSnapshot, actual: RunSnapshot) -> list[str]:
    return [*differences(expected, actual), *log_differences(expected, actual)]


@pytest.fixture(scope="module")
def training(workspace: Workspace) -> DagsterRun:
    run = workspace.run_in_process(WINE, SMALL_SEARCH)
    assert run.succeeded, run.failures
    return run


@pytest.fixture(scope="module")
def trained(workspace: Workspace, training: DagsterRun) -> RunSnapshot:
    return read(workspace, WINE, training.metaflow_run_id)


def test_training_leaves_the_same(workspace: Workspace, trained: RunSnapshot) -> None:
    assert len(trained.tasks["train"]) == 4
    assert all_differences(by_metaflow(workspace, WINE, **SMALL_SEARCH), trained) == []


def test_training_finds_the_most_accurate(trained: RunSnapshot) -> None:
    (end,) = trained.tasks["end"].values()
    found = {task.artifacts["result"]["accuracy"] for task in trained.tasks["train"].values()}
    assert end.artifacts["winner"] == end.artifacts["leaderboard"][0]
    assert end.artifacts["winner"]["accuracy"] == max(found)
    assert len(end.artifacts["leaderboard"]) == 4


def test_training_shows_its_leaderboard(training: DagsterRun, trained: RunSnapshot) -> None:
    html = Path(training.metadata["op_end"]["card default"]).read_text(encoding="utf-8")
    (data,) = re.findall(r'__MF_DATA__\["[^"]+"\] = "([^"]+)"', html)
    drawn = base64.b64decode(data).decode()
    (end,) = trained.tasks["end"].values()
    assert "Leaderboard" in drawn
    assert all(f"{one['accuracy']:.3f}" in drawn for one in end.artifacts["leaderboard"])


Etl = Mapping[str, Sequence[RunSnapshot]]


@pytest.fixture(scope="module")
def etl(workspace: Workspace) -> Etl:
    """Runs with new rows, with none, and with bad ones, from an empty database on: both ways."""
    return {
        "metaflow": list(etl_runs(workspace, by_metaflow)),
        "dagster": list(etl_runs(workspace, by_dagster)),
    }


def etl_runs(
    workspace: Workspace, run: Callable[[Workspace, Case], RunSnapshot]
) -> Iterator[RunSnapshot]:
    data = workspace.flows / "data"
    (workspace.flows / "sales.db").unlink(missing_ok=True)
    (data / "sales" / f"{BAD_DAY}.csv").unlink(missing_ok=True)
    yield run(workspace, ETL)
    yield run(workspace, ETL)
    shutil.copy(data / "late" / f"{BAD_DAY}.csv", data / "sales")
    yield run(workspace, ETL)


def test_etl_leaves_the_same(etl: Etl) -> None:
    for one, other in zip(etl["metaflow"], etl["dagster"], strict=True):
        assert all_differences(one, other) == []


@pytest.mark.parametrize("by", ["metaflow", "dagster"])
def test_etl_takes_each_way(etl: Etl, by: str) -> None:
    taken = [tuple(way for way in WAYS if way in run.tasks) for run in etl[by]]
    assert taken == [("load",), ("nothing_new",), ("load", "quarantine")]


def test_etl_keeps_each_row_once(etl: Etl, workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.flows / "sales.db")) as database:
        numbers = [number for (number,) in database.execute("SELECT number FROM sales")]
        aside = [entry for (entry,) in database.execute("SELECT entry FROM quarantine")]
    assert sorted(numbers) == [*range(1001, 1044), 1045, 1048]
    assert sorted(re.findall(r"\"number\": \"(\d+)\"", " ".join(aside))) == [
        "1044",
        "1046",
        "1047",
        "1048",
    ]


def test_corrected_rows_are_new_ones(etl: Etl, workspace: Workspace) -> None:
    file = workspace.flows / "data" / "sales" / f"{BAD_DAY}.csv"
    file.write_text(file.read_text().replace("2026-03-90", BAD_DAY))
    (validated,) = by_metaflow(workspace, ETL).tasks["validate"].values()
    assert validated.artifacts["outcome"] == "load"
    assert [one["number"] for one in validated.artifacts["good"]] == [1047]


def test_forecast_and_report_leave_the_same(etl: Etl, workspace: Workspace) -> None:
    for case in (FORECAST, REPORT):
        assert all_differences(by_metaflow(workspace, case), by_dagster(workspace, case)) == []


@dataclass
class Reader:
    """Somebody who gives the commands of the page, and what these have printed."""

    directory: Path
    url: str = URL
    state: list[str] = field(default_factory=list)  # what outlives a command in a terminal
    printed: dict[str, str] = field(default_factory=dict)

    @property
    def examples(self) -> Path:
        """Where the page has the flows copied to."""
        return self.directory / "build" / "examples"

    def give(self, block: str) -> str:
        """Give the commands of a block, in the order in which they stand there."""
        script = "\n".join([*self.state, block]).replace(URL, self.url)
        self.printed[block] = checked(
            ["bash", "-euc", script],
            self.directory,
            PATH=path_with_this_python(),
            METAFLOW_USER="reader",
        )
        self.state += [one for one in block.splitlines() if one.startswith(("cd ", "export "))]
        return self.printed[block]

    def runs(self, flow: str) -> list[Any]:
        """The runs of a flow, the oldest first."""
        from metaflow import Flow

        use_client(self.directory)
        return sorted(Flow(flow), key=lambda run: run.created_at)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader who has given all commands, and has waited for what events have started."""
    found = Reader(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(FLOWS, found.directory / "fixtures" / "flows")
    (found.directory / ".metaflow").mkdir()
    found.give(SET_UP)
    place = Place(found.examples, found.examples / "dagster_home")
    make_databases(place)
    (file,) = re.findall(r"^dagster dev -f (\S+)\n$", SERVE)
    (listing,) = (block for block in COMMANDS if "list-runs" in block)
    with running_server(place, file) as server:
        found.url = server.url
        for block in COMMANDS:
            found.give(block)
        until(lambda: found.give(listing).count("Succeeded") == 6)
    return found


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.split()[-1])
def test_commands_print_what_is_shown(reader: Reader, command: str) -> None:
    printed, shown = reader.printed[command], SHOWN[command]
    if "--wait" in command:  # what is printed while the run goes on depends on the machine
        assert set(shown.splitlines()) <= set(printed.splitlines())
    else:
        assert printed == shown


def test_shown_code_is_that_of_the_flows(reader: Reader) -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in reader.examples.glob("*.py"))
    fragments = [text for language, text in BLOCKS if language == "python"]
    assert len(fragments) == 3
    assert [
        text for text in fragments if text not in code.replace("    publish(", "publish(")
    ] == []


def test_triggers_of_the_page_take_each_way(reader: Reader) -> None:
    taken = [tuple(way for way in WAYS if way in steps(run)) for run in reader.runs("SalesEtlFlow")]
    assert taken == [("load",), ("nothing_new",), ("load", "quarantine")]


def steps(run: Any) -> set[str]:
    return {step.id for step in run}


def test_events_start_forecasts_with_their_payload(reader: Reader) -> None:
    first, second, by_hand = reader.runs("ForecastFlow")
    database = str(reader.examples.resolve() / "sales.db")
    given = [(run.data.day, run.data.database) for run in (first, second, by_hand)]
    assert given == [
        ("2026-03-08", database),
        ("2026-03-09", database),
        ("2026-03-05", "sales.db"),
    ]
    assert [run.data.days[0] for run in (first, second, by_hand)] == [
        "2026-03-09",
        "2026-03-10",
        "2026-03-06",
    ]


def test_reports_are_of_the_forecasts_that_have_started_them(reader: Reader) -> None:
    forecasts, reports = reader.runs("ForecastFlow"), reader.runs("ForecastReportFlow")
    assert [run.data.source for run in reports] == [run.pathspec for run in forecasts]
    assert [run.data.forecasts for run in reports] == [run.data.forecasts for run in forecasts]
