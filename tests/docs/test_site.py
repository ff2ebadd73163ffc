"""The pages as a site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, blocks, pages

HOME = "https://github.com/metaflow-dagster/metaflow-dagster"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; links that lead nowhere would be an error."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


def test_nothing_that_is_read_comes_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'(?:src="|<link [^>]*href=")(https?:[^"]*)', text) == []


def test_links_to_the_repository_lead_to_files(site: Path) -> None:
    texts = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    links = {
        link for text in texts for link in re.findall(rf'href="{HOME}/blob/main/([^"#]*)', text)
    }
    assert "CONTRIBUTING.md" in links
    assert [link for link in sorted(links) if not (ROOT / link).exists()] == []


def test_graphs_are_drawn(site: Path) -> None:
    shapes = (site / "graph-shapes" / "index.html").read_text(encoding="utf-8")
    drawn = [block for block in blocks("docs/graph-shapes.md") if block.language == "mermaid"]
    assert shapes.count('<pre class="mermaid">') == len(drawn) > 0


def test_links_of_the_readme_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (start,) = (number for number, line in enumerate(text.splitlines()) if line == "nav:")
    nav = yaml.safe_load("\n".join(text.splitlines()[start:]))["nav"]
    named = sorted(f"docs/{page}" for page in _named(nav))
    assert named == [page for page in pages() if page != "README.md"]


def _named(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in _named(part)]  # type: ignore[attr-defined]
