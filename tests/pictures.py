"""The pictures of Dagster's UI in the documentation.

python -m tests.pictures          says which of them are missing
python -m tests.pictures --write  takes them
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.pages import Job, RunPage
from tests.browser.place import place_with
from tests.docs.pages import file_of
from tests.golden import FLOWS, isolate
from tests.operated import Place, Server, place_of, running_server
from tests.services.chromium import chromium

DIRECTORY = FLOWS.parent.parent / "docs" / "images"

EXAMPLES = ("wine_search.py", "sales_etl.py", "forecast.py", "forecast_report.py")

# What the browser remembers of a person: no texts beside the icons on the left, and how many
# per cent of the height or width are the first of two panels.
HABITS = {
    "dagster-nav-collapsed": "true",
    "dagster.panel-width.execution": "70",
    "dagster.panel-width.run-gantt": "52",
}
REMEMBER = "habits => Object.entries(habits).forEach(([key, value]) => localStorage[key] = value)"

# Where the pictures are taken, and what they show instead.
REPLACE = """shown => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode())
        for (const [before, after] of Object.entries(shown))
            texts.currentNode.data = texts.currentNode.data.replaceAll(before, after);
}"""


@dataclass(frozen=True)
class Scene:
    """A server with the example flows, which have been run, and a browser's page."""

    place: Place
    server: Server
    page: Page
    runs: Mapping[str, str]

    def job(self, name: str) -> Job:
        return Job(self.page, self.server.url, name)

    def run(self, name: str) -> RunPage:
        """A run that has been prepared."""
        self.page.goto(self.runs[name])
        return RunPage(self.page)

    def resize(self, height: int, width: int = 1400) -> None:
        """Show as much as is of interest."""
        self.page.set_viewport_size({"width": width, "height": height})

    def picture(self, shown: Locator | None = None) -> bytes:
        """What is to be seen, of the whole page or of a part."""
        paths = {str(self.place.directory): "/home/ann/flows", sys.prefix: "/home/ann/.venv"}
        self.page.evaluate(REPLACE, paths)
        self.page.mouse.move(0, 0)
        return (shown or self.page).screenshot(animations="disabled")


def job_graph(scene: Scene) -> bytes:
    scene.resize(1100)
    graph = scene.job("SalesEtlFlow").graph()
    expect(graph.sidebar()).to_contain_text("Loads new sales from CSV files into SQLite")
    assert "op_validate" in graph.ops()
    return scene.picture()


def launchpad(scene: Scene) -> bytes:
    scene.resize(900)
    launchpad = scene.job("WineSearchFlow").launchpad()
    launchpad.point_at("folds:")
    expect(scene.page.get_by_text("/* Folds of the cross-validation. */")).to_be_visible()
    expect(scene.page.get_by_text("No errors")).to_be_visible()
    expect(scene.page.get_by_role("button", name="Launch Run")).to_be_enabled()
    return scene.picture()


def run(scene: Scene) -> bytes:
    scene.resize(830)
    scene.run("forecast").events_of_kind("STEP_SUCCESS")
    # In the timeline and in the log.
    expect(scene.page.get_by_text("op_forecast[2]", exact=True)).to_have_count(2)
    expect(scene.page.get_by_text("op_end", exact=True)).to_have_count(2)
    return scene.picture()


def step_metadata(scene: Scene) -> bytes:
    scene.resize(1300)
    found = scene.run("search")
    return scene.picture(found.opened(found.events("op_end", "STEP_OUTPUT").first))


def failure(scene: Scene) -> bytes:
    scene.resize(1000)
    found = scene.run("failed")
    return scene.picture(found.opened(found.events("op_start", "STEP_FAILURE").first))


def schedules_and_sensors(scene: Scene) -> bytes:
    scene.resize(560)
    scene.page.goto(f"{scene.server.url}/automation")
    expect(scene.page.get_by_text("SalesEtlFlow_schedule")).to_be_visible()
    expect(scene.page.get_by_text(" ago")).to_have_count(2)
    expect(scene.page.locator("[class*=Spinner_spinner]")).to_have_count(0)
    return scene.picture()


PICTURES: Mapping[str, Callable[[Scene], bytes]] = {
    f"{take.__name__.replace('_', '-')}.png": take
    for take in (job_graph, launchpad, run, step_metadata, failure, schedules_and_sensors)
}


def asset_partitions(scene: Scene) -> bytes:
    scene.resize(720)
    asset = f"{scene.server.url}/assets/metaflow.DemandFlow.end"
    scene.page.goto(f"{asset}?view=partitions&partition=2026-01-03")
    expect(scene.page.get_by_text("Materialized (6)")).to_be_visible()
    expect(scene.page.get_by_text("View all historical events (1)")).to_be_visible()
    return scene.picture()


def asset_plot(scene: Scene) -> bytes:
    scene.resize(760)
    scene.page.goto(f"{scene.server.url}/assets/demand/forecast")
    expect(scene.page.get_by_text("retrieve")).to_be_visible()  # of the latest materialization
    scene.page.get_by_role("button", name="Plots").click()
    scene.page.get_by_role("button", name="Events").click()
    expect(scene.page.locator("canvas")).to_have_count(2)
    return scene.picture()


def asset_check(scene: Scene) -> bytes:
    scene.resize(900)
    page = scene.page
    page.goto(f"{scene.server.url}/assets/metaflow.DemandFlow.end?view=checks")
    page.get_by_text("train_error_lt", exact=True).first.click()
    expect(page.get_by_text("error is 3.0")).to_be_visible()
    return scene.picture()


ASSET_PICTURES: Mapping[str, Callable[[Scene], bytes]] = {
    f"{take.__name__.replace('_', '-')}.png": take
    for take in (asset_partitions, asset_plot, asset_check)
}


@contextmanager
def asset_scene(browser: Browser, directory: Path) -> Iterator[Scene]:
    """A server with the flow of docs/assets.md, of which some partitions have been run."""
    flow = file_of("docs/assets.md", "demand_flow.py")
    place = place_of(directory, "demand_flow.py", flow, "nux: {enabled: false}\n")
    create = ["create", "demand.py", "--assets", "--owner=team:planning"]
    days = "--partition=day=daily:2026-01-01,end=2026-01-10"
    checks = ["--check-artifact=train.error < 3", "--check-artifact=start.rows >= 28; blocking"]
    assert not place.dagster(
        *create, days, "--asset=train.forecast=demand/forecast", *checks
    ).returncode
    backfill = ["backfill", "--definitions-file=demand.py", "--from=2026-01-01", "--to=2026-01-06"]
    assert place.dagster(*backfill).returncode == 0
    with running_server(place, "demand.py") as server, browser.new_context() as person:
        person.add_init_script(f"({REMEMBER})({json.dumps(HABITS)})")
        yield Scene(place, server, person.new_page(), {})


def prepared(page: Page, server: Server) -> Mapping[str, str]:
    """Run the flows, and return the addresses of the runs by what the pictures call them."""

    def ended(job: str, status: str, **parameters: object) -> str:
        found = Job(page, server.url, job).launch(**parameters)
        found.wait_for(status)
        return found.url

    ended("SalesEtlFlow", "Success")
    search = ended("WineSearchFlow", "Success")
    # The sales have started the forecast, and that its report.
    page.goto(f"{server.url}/locations/definitions.py/jobs/ForecastReportFlow/runs")
    RunPage(page).wait_for("Success")
    page.goto(f"{server.url}/locations/definitions.py/jobs/ForecastFlow/runs")
    forecast = page.get_by_role("link", name="View", exact=True).get_attribute("href")
    failed = ended("ForecastFlow", "Failure", day="2020-01-01")
    return {"search": search, "forecast": f"{server.url}{forecast}", "failed": failed}


@contextmanager
def scene(browser: Browser, directory: Path) -> Iterator[Scene]:
    """The server, for as long as pictures are taken."""
    place = place_with(directory, [FLOWS / name for name in EXAMPLES])
    shutil.copytree(FLOWS / "data" / "sales", directory / "data" / "sales")
    with running_server(place, "defs/definitions.py") as server:
        with browser.new_context() as person:
            runs = prepared(person.new_page(), server)
        with browser.new_context() as another:
            another.add_init_script(f"({REMEMBER})({json.dumps(HABITS)})")
            yield Scene(place, server, another.new_page(), runs)


def write() -> None:
    """Take all pictures."""
    DIRECTORY.mkdir(exist_ok=True)
    with chromium() as browser:
        for pictures, prepare in ((PICTURES, scene), (ASSET_PICTURES, asset_scene)):
            _take(pictures, prepare, browser)


def _take(
    pictures: Mapping[str, Callable[[Scene], bytes]],
    prepare: Callable[[Browser, Path], AbstractContextManager[Scene]],
    browser: Browser,
) -> None:
    with tempfile.TemporaryDirectory() as directory, prepare(browser, Path(directory)) as found:
        for name, take in pictures.items():
            (DIRECTORY / name).write_bytes(take(found))


def main() -> int:
    parser = argparse.ArgumentParser(description="Check for the pictures in docs, or take them.")
    parser.add_argument("--write", action="store_true", help="take them")
    if parser.parse_args().write:
        write()
    names = [*PICTURES, *ASSET_PICTURES]
    missing = [name for name in names if not (DIRECTORY / name).exists()]
    print("\n".join(f"docs/images/{name} is missing" for name in missing), end="\n" * bool(missing))
    return bool(missing)


if __name__ == "__main__":
    isolate()
    sys.exit(main())
