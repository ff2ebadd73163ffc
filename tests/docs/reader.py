"""Somebody who follows a page from top to bottom, in a home directory where nothing is yet.

* A block whose first line is a comment with the name of a file is written to that file.
* `sh` is run line by line. `dagster dev` serves in the background until the page ends or says it
  again; the address of the page is replaced by its own.
* Other `python` is run as a script.
* `text` is what the block before it has printed, or a part of that. In it, … stands for anything,
  and for any lines where it is alone. Ids of runs, home directory and times are not compared.

Comments before a block say more:

    files of PAGE     the files that another page shows are there
    run COMMAND       what is done without being shown; `$REPOSITORY` is the checkout
    file NAME         the block is written to this file
    in FILE           the block is a part of this file
    fails             the last command of the block fails
    in time           the last command is repeated until it prints the text
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from tests.docs import pages
from tests.docs.pages import ROOT, Block
from tests.operated import SECONDS, Place, make_databases, served, until

USUAL_URL = "http://127.0.0.1:3000"
HOME = "/home/ann"
ENDED = {True: "succeeds", False: "fails"}
_RUN_ID = re.compile(r"dagster-[0-9a-f]{12}\b")
_NOT_COMPARED = (
    (_RUN_ID, "dagster-…"),
    (re.compile(r"[0-9a-f]{8}-(?:…|(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"), "…"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[+]00:00"), "…"),
)

_INSTALLED: set[str] = set()  # what has been tried; it takes a while


class Reader(AbstractContextManager["Reader"]):
    """A reader with a directory of their own, who ends what has been started."""

    def __init__(self, directory: Path) -> None:
        (directory / ".metaflow").mkdir()
        (directory / "metaflow-dagster").symlink_to(ROOT)
        self.place = Place(directory, directory / ".metaflow-dagster")
        self.place.home.mkdir()
        quiet = "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        (self.place.home / "dagster.yaml").write_text(quiet)
        self.exported: dict[str, str] = {}
        self.url = USUAL_URL
        self.run_id: str | None = None
        self.said = ""
        self._again: str | None = None
        self._servers = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._servers.close()
        if (self.place.home / "launched").exists():
            self.place.end_all_runs()

    @property
    def environment(self) -> Mapping[str, str]:
        own = {"HOME": str(self.place.directory), "METAFLOW_USER": "ann", "REPOSITORY": str(ROOT)}
        return {**self.place.environment(), **own, **self.exported}

    def read(self, blocks: Iterable[Block]) -> None:
        """Do what the blocks show, and what is not shown before them."""
        for block in blocks:
            try:
                self._prepare(block)
                self._take(block)
            except AssertionError as error:
                raise AssertionError(f"{block.place}: {error}") from None

    def _prepare(self, block: Block) -> None:
        for page in block.said("files"):
            for other in pages.blocks(page.removeprefix("of ")):
                if other.title:
                    self._write(other.title, other.text)
        for command in block.said("run"):
            self.run(command)

    def _take(self, block: Block) -> None:
        name = block.title or "".join(block.said("file"))
        if within := block.said("in"):
            if within == ["time"]:
                self._compare_in_time(block.text)
            else:
                text = (self.place.directory / within[0]).read_text(encoding="utf-8")
                assert block.text.strip() in text, f"is not what {within[0]} has:\n{text}"
        elif name:
            self._write(name, block.text)
        elif block.language == "sh":
            self._run_all(_commands(block.text), fails="fails" in block.comments)
        elif block.language == "python":
            self.said = self._succeeding([sys.executable, "-c", self._here(block.text)])
        elif block.language == "text":
            unlike = self._compare(block.text)
            assert unlike is None, unlike
        else:
            raise AssertionError(f"nothing is known of {block.language}")

    def _write(self, name: str, text: str) -> None:
        file = self.place.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(text), encoding="utf-8")

    def _run_all(self, commands: Sequence[str], fails: bool) -> None:
        *first, last = commands
        self.said = "".join([*map(self.run, first), self.run(last, fails)])
        self._again = last

    def run(self, command: str, fails: bool = False) -> str:
        """What a line prints; `fails` if it is to exit with an error."""
        match command.split():
            case ["dagster", "dev", *_]:
                self._serve(command)
            case ["make", *targets]:
                _succeeds(self._start(["make", "--dry-run", *targets], ROOT))
            case ["pip", "install", *_]:
                self._install(command)
            case ["export", assignment]:
                self._export(assignment)
            case _:
                return self._bash(command, fails)
        return ""

    def _install(self, command: str) -> None:
        """See that pip takes what is to be installed, and that its extras exist."""
        if command not in _INSTALLED:
            line = f"{sys.executable} -m {command} --dry-run --no-deps"
            said = _succeeds(self._start(["bash", "-c", line]))
            assert "does not provide the extra" not in said
            _INSTALLED.add(command)

    def _export(self, assignment: str) -> None:
        name, _, value = assignment.partition("=")
        self.exported[name] = self._here(value.replace("~", str(self.place.directory)))

    def _bash(self, command: str, fails: bool) -> str:
        result = self._start(["bash", "-c", self._here(command)])
        printed = result.stdout + result.stderr
        assert (result.returncode != 0) == fails, f"{command} {ENDED[fails]}:\n{printed}"
        if found := _RUN_ID.findall(printed):
            self.run_id = found[-1]
        return printed

    def _here(self, text: str) -> str:
        """What the page says, with the address of the server and the last run that was started."""
        here = text.replace(USUAL_URL, self.url)
        return _RUN_ID.sub(self.run_id, here) if self.run_id else here

    def _start(
        self, command: Sequence[str], directory: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=directory or self.place.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def _succeeding(self, command: Sequence[str]) -> str:
        return _succeeds(self._start(command))

    def _serve(self, command: str) -> None:
        self._servers.close()
        if self.url == USUAL_URL:
            make_databases(self.place)
        server = served(self.place, command, **self.environment)
        self.url = self._servers.enter_context(server).url

    def _compare(self, text: str, repeat: bool = False) -> str | None:
        """How the last block has not printed a text; None if it has."""
        if repeat:
            assert self._again is not None, "nothing to repeat"
            self.said = self.run(self._again)
        printed = self._normal(self.said)
        expected = self._normal(text).rstrip("\n")
        lines = [".*" if line.strip() == "…" else _pattern(line) for line in expected.split("\n")]
        # What is alone stands for any number of lines, none included.
        pattern = "\n".join(lines).replace(".*\n", "(?:.*\n)*").removesuffix("\n.*")
        if re.search(rf"^{pattern}$", printed, re.MULTILINE):
            return None
        return f"what is printed is not that:\n{printed}"

    def _compare_in_time(self, text: str) -> None:
        with suppress(AssertionError):
            until(lambda: self._compare(text, repeat=True) is None)
        unlike = self._compare(text)
        assert unlike is None, unlike

    def _normal(self, text: str) -> str:
        text = text.replace(str(self.place.directory), HOME).replace(self.url, USUAL_URL)
        for pattern, stand_in in _NOT_COMPARED:
            text = pattern.sub(stand_in, text)
        return "\n".join(line.rstrip() for line in text.split("\n"))


def _pattern(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split("…")))


def _commands(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", "").splitlines() if line and line[0] != "#"]


def _succeeds(result: subprocess.CompletedProcess[str]) -> str:
    printed = result.stdout + result.stderr
    assert result.returncode == 0, f"{result.args} fails:\n{printed}"
    return printed
