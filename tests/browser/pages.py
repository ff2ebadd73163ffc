"""The pages of Dagster's UI that show a job and its runs, by what one does on them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, Response, expect

# How long Dagster may take to show something, in milliseconds, and a run, in that many times more.
PATIENCE = 20_000
RELOADS = 10

expect.set_options(timeout=PATIENCE)

# The location that `dagster dev -f definitions.py` makes.
LOCATION = "definitions.py"


@dataclass(frozen=True)
class Job:
    """A job of the server, and the browser's page to look at it."""

    page: Page
    server_url: str
    name: str

    @property
    def url(self) -> str:
        return f"{self.server_url}/locations/{LOCATION}/jobs/{self.name}"

    def graph(self) -> Graph:
        """Open the job."""
        self.page.goto(self.url)
        return Graph(self.page)

    def launchpad(self) -> Launchpad:
        """Open the page where runs are launched."""
        self.page.goto(f"{self.url}/playground")
        return Launchpad(self.page)

    def launch(self, **parameters: object) -> RunPage:
        """Launch a run in the launchpad."""
        launchpad = self.launchpad()
        launchpad.give(parameters)
        return launchpad.launch()


@dataclass(frozen=True)
class Graph:
    """The ops of a job, and a sidebar that is about the job or the op one has clicked."""

    page: Page

    def ops(self) -> Mapping[str, str]:
        """The descriptions of the ops, by their names."""
        boxes = self.page.locator("[class*=OpNode_nodeBox]")
        expect(boxes).not_to_have_count(0)
        lines = [text.splitlines() for text in boxes.all_inner_texts()]
        return {name: " ".join(description) for name, *description in lines}

    def open(self, op: str) -> None:
        """Click an op."""
        self.page.locator("[class*=OpNode_label]").get_by_text(op, exact=True).click()
        expect(self.page).to_have_url(re.compile(rf"/{op}$"))

    def sidebar(self) -> Locator:
        """The panel on the right."""
        return self.page.locator("[class*=SplitPanelContainer_splitPanel]").filter(
            has=self.page.get_by_role("tab", name="Info")
        )


@dataclass(frozen=True)
class Launchpad:
    """The configuration of a run: an editor, and beside it what it may hold."""

    page: Page

    def editor(self) -> Locator:
        return self.page.locator(".CodeMirror")

    def text(self) -> str:
        """What is in the editor, which Dagster fills some time after it shows it."""
        expect(self.editor()).to_contain_text("config")
        return str(self.editor().evaluate("it => it.CodeMirror.getValue()"))

    def write(self, text: str) -> None:
        """Replace what is in the editor."""
        self.text()
        self.editor().evaluate("(it, text) => it.CodeMirror.setValue(text)", text)

    def give(self, parameters: Mapping[str, object]) -> None:
        """Let the run have some parameters, which YAML takes as JSON."""
        self.write(json.dumps({"ops": {"op_start": {"config": parameters}}}))

    def point_at(self, word: str) -> None:
        """Put the cursor at a word, whereupon the help is about what surrounds it."""
        self.text()
        self.editor().evaluate(
            """(it, word) => {
                const lines = it.CodeMirror.getValue().split("\\n");
                const line = lines.findIndex(one => one.includes(word));
                it.CodeMirror.setCursor({line, ch: it.CodeMirror.getLine(line).length});
                it.CodeMirror.focus();
            }""",
            word,
        )

    def launch(self) -> RunPage:
        """Launch the run, and go where Dagster then goes."""
        self.page.get_by_role("button", name="Launch Run").click()
        self.page.wait_for_url("**/runs/*")
        return RunPage(self.page)


@dataclass(frozen=True)
class RunPage:
    """A run: a timeline, the log of its events, and what can be done with the run."""

    page: Page

    @property
    def url(self) -> str:
        """Its address, without what is selected."""
        return self.page.url.partition("?")[0]

    @property
    def dagster_run_id(self) -> str:
        return self.url.rpartition("/")[2]

    def wait_for(self, status: str) -> None:
        """Wait until the run is said to have a status, in Dagster's word.

        What happens just before a silence is not always told to a page that is open.
        """
        shown = self.page.get_by_text(status, exact=True).first
        for _ in range(RELOADS):
            with suppress(AssertionError):
                expect(shown).to_be_visible()
                break
            self.page.reload()
        expect(shown).to_be_visible()

    def wait_for_tasks(self, count: int) -> None:
        """Wait until so many tasks are said to be under way, without opening the page anew."""
        expect(self.page.get_by_text(f"Executing ({count})")).to_be_visible()

    def tags_and_config(self) -> Locator:
        """Open what the run was launched with."""
        self.page.get_by_role("button", name="View tags and config").click()
        return self.page.get_by_role("dialog")

    def events(self, step: str, kind: str) -> Locator:
        """The events of one kind that the log has of a step."""
        return self._filtered(f"step:{step}|type:{kind}", kind)

    def events_of_kind(self, kind: str) -> Locator:
        """The events of one kind."""
        return self._filtered(f"type:{kind}", kind)

    def _filtered(self, tokens: str, kind: str) -> Locator:
        self.page.goto(f"{self.url}?{urlencode({'logs': tokens})}")
        rows = self.page.locator("[data-index]").filter(has_text=kind)
        expect(rows.first).to_be_visible()
        return rows

    def opened(self, event: Locator) -> Locator:
        """Open all of an event."""
        event.get_by_role("button", name="View full message").click()
        return self.page.get_by_role("dialog")

    def markdown(self, dialog: Locator, name: str) -> str:
        """The code in an entry of an opened event that is shown when one asks for it."""
        dialog.locator("tr").filter(has_text=name).get_by_text("[Show Markdown]").last.click()
        shown = self.page.get_by_role("dialog").last
        code = shown.locator("code").inner_text()
        shown.get_by_role("button", name="Close").click()
        return code

    def terminate(self) -> None:
        """End the run, as a careful person does: not by force, so its processes are ended too."""
        self.page.get_by_role("button", name="Terminate").click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog.get_by_role("checkbox")).not_to_be_checked()
        # The dialog goes as soon as the run has ended.
        with self.page.expect_response(asks_to_terminate):
            dialog.get_by_role("button", name="Terminate 1 run").click()

    def re_execute_from_failure(self) -> None:
        """Launch the run anew where it has failed, and go where Dagster then goes."""
        before = self.url
        button = self.page.get_by_role("button", name="Re-execute all")
        button.locator("xpath=following::button[1]").click()
        self.page.get_by_role("menuitem", name="From failure").click()
        self.page.wait_for_url(lambda url: "/runs/" in url and not url.startswith(before))


def asks_to_terminate(response: Response) -> bool:
    """Whether this is the answer to a person's wish to end a run."""
    return "mutation Terminate" in (response.request.post_data or "")


def cells(table: Locator) -> list[list[str]]:
    """The texts of a table, row by row."""
    rows = table.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]
