"""Chromium without a window, as people have it who look at Dagster's UI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.services.installed import installed


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, to be told of every size and place in it by its pages."""
    program = str(installed("chromium"))
    with sync_playwright() as playwright:
        # The pages are Dagster's own; there is nothing that its sandbox, which root cannot have,
        # would keep out.
        options = ["--no-sandbox"]
        with playwright.chromium.launch(executable_path=program, args=options) as browser:
            yield browser
