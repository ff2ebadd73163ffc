"""What people see and do in Dagster's UI: Chromium drives a `dagster dev` with a compiled flow."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import __version__ as dagster_version
from playwright.sync_api import Browser, expect

from tests.browser.pages import Job, RunPage, cells
from tests.browser.place import place_with
from tests.golden import FIXTURES
from tests.operated import Place, Server, is_alive, running_server, until
from tests.pictures import asset_scene
from tests.services.chromium import chromium
from tests.support import checked, use_client

# The pages are found as this one has them; a later one that differs is to be noticed.
OLDEST_UI = (1, 13)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        tuple(map(int, dagster_version.split(".")[:2])) < OLDEST_UI, reason="the UI was another"
    ),
]

FLOW = FIXTURES / "browser" / "orchard_flow.py"
STEPS = {
    "op_start": "Find the trees.",
    "op_pick": "Pick the apples of one tree.",
    "op_weigh": "Weigh what has been picked.",
    "op_end": "Say what it is worth.",
}
PARAMETERS = ("baskets", "orchard", "organic", "price", "trees", "weather")
DEFAULTS = """\
ops:
  op_start:
    config:
      baskets:
        size: 10
      orchard: Hill side
      organic: true
      price: 1.5
      trees: 2
      weather: sun
"""


@dataclass(frozen=True)
class Orchard:
    """The place of the flow, and a browser's page on its job."""

    place: Place
    job: Job

    def run_id(self, run: RunPage) -> str:
        """The Metaflow id of a run."""
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.place.home)) as instance:
            found = instance.get_run_by_id(run.dagster_run_id)
            assert found is not None
            return found.tags["metaflow/run_id"]

    def artifacts(self, pathspec: str, *names: str) -> list[Any]:
        """What a task has made."""
        from metaflow import Task

        use_client(self.place.directory)
        task = Task(f"OrchardFlow/{pathspec}")
        return [task[name].data for name in names]

    def tasks(self, run_id: str) -> Sequence[str]:
        """The tasks of a run that have been started, each as often as it has."""
        lines = (self.place.directory / "counted").read_text().splitlines()
        tasks = [line.removeprefix(f"OrchardFlow/{run_id}/") for line in lines if run_id in line]
        return sorted(tasks)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def place(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_with(tmp_path_factory.mktemp("orchard"), [FLOW])


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    with running_server(place, "defs/definitions.py") as found:
        yield found


@contextmanager
def looked_at(browser: Browser, place: Place, server: Server) -> Iterator[Orchard]:
    """The job for somebody who has not used this Dagster before: it remembers what one types."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as person:
        yield Orchard(place, Job(person.new_page(), server.url, "OrchardFlow"))


@pytest.fixture
def orchard(browser: Browser, place: Place, server: Server) -> Iterator[Orchard]:
    (place.directory / "umbrella").unlink(missing_ok=True)
    with looked_at(browser, place, server) as found:
        yield found


@pytest.fixture(scope="module")
def failed(browser: Browser, place: Place, server: Server) -> str:
    """The address of a run two of whose tasks have failed."""
    with looked_at(browser, place, server) as orchard:
        run = orchard.job.launch(trees=2, weather="rain")
        run.wait_for("Failure")
        return run.url


def opened_run(orchard: Orchard, url: str) -> RunPage:
    orchard.job.page.goto(url)
    return RunPage(orchard.job.page)


def test_graph(orchard: Orchard) -> None:
    graph = orchard.job.graph()
    ops = graph.ops()
    assert ops.keys() == STEPS.keys()
    assert all(ops[name].startswith(text) for name, text in STEPS.items())
    expect(graph.sidebar()).to_contain_text("Picks the apples of an orchard, one tree at a time.")
    graph.open("op_pick")
    expect(graph.sidebar()).to_contain_text(STEPS["op_pick"])


def test_launchpad(orchard: Orchard) -> None:
    """It begins with the defaults, explains parameters and refuses what is not of their type."""
    launchpad = orchard.job.launchpad()
    page = orchard.job.page
    assert launchpad.text() == DEFAULTS
    launchpad.point_at("trees:")
    for text in ("/* How many trees are picked */", "trees?: Int", "price?: Float"):
        expect(page.get_by_text(text).first).to_be_attached()

    launchpad.write(DEFAULTS.replace("trees: 2", "trees: many"))
    refused = page.get_by_text("""Value "many" of type "<class 'str'>" is not valid for""")
    expect(refused.first).to_be_visible()
    expect(page.get_by_role("button", name="Launch Run")).to_be_disabled()

    changed = {"orchard": 'Bank "7"', "trees": 3, "price": 2.5, "organic": False}
    launchpad.give({**changed, "baskets": {"size": [1, None]}})
    run = launchpad.launch()
    run.wait_for("Success")
    names = ("orchard", "trees", "price", "organic", "baskets", "weather", "kilograms")
    end = f"{orchard.run_id(run)}/end/end"
    given = [*changed.values(), {"size": [1, None]}]
    assert orchard.artifacts(end, *names) == [*given, "sun", 72.0]


def test_metadata_of_a_step(orchard: Orchard, failed: str) -> None:
    """A task says which it is, what it has made and how to get that, and how it was run."""
    run = opened_run(orchard, failed)
    run_id = orchard.run_id(run)
    expect(run.tags_and_config()).to_contain_text(f"metaflow/run_id: {run_id}")

    dialog = run.opened(run.events("op_start", "STEP_OUTPUT").first)
    for text in (f"OrchardFlow/{run_id}/start/start", "attempt", "foreach items"):
        expect(dialog.get_by_text(text, exact=True)).to_be_visible()
    table = cells(dialog.get_by_role("table").filter(has_text="bytes").last)
    assert ["price", "float", "21"] in table
    assert {name for name, *_ in table} == {*PARAMETERS, "numbers"}

    snippet = run.markdown(dialog, "retrieve")
    code = "import sys; exec(sys.argv[1] + '\\nprint(task[\"numbers\"].data)')"
    printed = checked([sys.executable, "-c", code, snippet], orchard.place.home)
    assert printed.splitlines()[-1] == "[1, 2]"
    assert f" step start --run-id={run_id} --task-id=start " in run.markdown(dialog, "command")


def test_failure(orchard: Orchard, failed: str) -> None:
    """The user's own exception and line of code are what the error shows."""
    run = opened_run(orchard, failed)
    event = run.events("op_pick[0]", "STEP_FAILURE").first
    expect(event).to_contain_text("ZeroDivisionError: division by zero")
    dialog = run.opened(event)
    expect(dialog).to_contain_text("ZeroDivisionError: division by zero")
    expect(dialog).to_contain_text("in pick")
    expect(dialog).to_contain_text("self.kilograms = ")
    expect(dialog).not_to_contain_text("step_cmd.py")


def test_termination(orchard: Orchard) -> None:
    run = orchard.job.launch(trees=1, weather="fog")
    file = orchard.place.directory / "picking.pid"
    pid = int(until(lambda: file.exists() and file.read_text()))
    run.wait_for_tasks(1)
    run.terminate()
    run.wait_for("Canceled")
    until(lambda: not is_alive(pid))


def test_re_execution_from_failure(orchard: Orchard, failed: str) -> None:
    """It continues the same Metaflow run, and what has finished is not run again."""
    run = opened_run(orchard, failed)
    run.wait_for("Failure")
    run_id = orchard.run_id(run)
    (orchard.place.directory / "umbrella").touch()
    run.re_execute_from_failure()
    run.wait_for("Success")
    assert orchard.run_id(run) == run_id
    picked = ["pick/pick-0", "pick/pick-0", "pick/pick-1", "pick/pick-1"]
    assert orchard.tasks(run_id) == [*picked, "start/start", "weigh/weigh"]
    assert orchard.artifacts(f"{run_id}/end/end", "kilograms") == [36.0]


def test_partitions_are_materialized_from_their_pages(browser: Browser, tmp_path: Path) -> None:
    """One on the page of the asset, and those that are missing in the graph of all assets."""
    with asset_scene(browser, tmp_path) as scene:
        page, url = scene.page, f"{scene.server.url}/assets/metaflow.DemandFlow.end"
        page.goto(url)
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_role("button", name="Confirm").click()  # that the artifact's asset is, too
        page.get_by_role("button", name="Latest").click()
        page.get_by_role("button", name="Launch 1 run").click()
        until(lambda: partitions(scene.place) == {*DAYS[:6], DAYS[8]})

        page.goto(f"{scene.server.url}/asset-groups")
        page.get_by_role("button", name="Materialize all").click()
        page.get_by_role("button", name="Missing", exact=True).click()
        page.get_by_role("button", name="Launch").last.click()
        until(lambda: partitions(scene.place) == {*DAYS})
        page.goto(f"{url}?view=partitions")
        expect(page.get_by_text("Materialized (9)")).to_be_visible()


DAYS = [f"2026-01-0{day}" for day in range(1, 10)]


def partitions(place: Place) -> set[str]:
    """The partitions of the flow's asset that are there."""
    from dagster import AssetKey, DagsterInstance

    with DagsterInstance.from_config(str(place.home)) as instance:
        return set(instance.get_materialized_partitions(AssetKey(["metaflow.DemandFlow.end"])))
