"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench.earlier import earlier_release
from tests.bench.execution import RunFailed
from tests.bench.machine import facts
from tests.bench.measuring import measure
from tests.bench.peer import REQUIREMENT, installed_peer
from tests.bench.report import Report
from tests.bench.runners import EARLIER, RUNNERS, Compiled, Runner
from tests.bench.works import WORKS, Work, turns

HAS_PROC = sys.platform == "linux"  # where /proc says what processes have used and share


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and print the tables."""
    options = parser().parse_args(arguments)
    # So that processes and directories are seen to when the benchmark is stopped.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        report = benchmark(options)
    except RunFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(report.markdown())
    if options.markdown:
        options.markdown.write_text(report.markdown())
    if options.page:
        options.page.write_text(report.page(options.page.read_text()))
    if options.json:
        options.json.write_text(report.json())
    return 0


def benchmark(options: argparse.Namespace) -> Report:
    """Take all measurements, in a temporary directory."""
    works = chosen_works(options)
    peer = installed_peer() if options.peer else None
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-bench-") as name:
        directory = Path(name)
        earlier = earlier_release(directory / EARLIER.name)
        results = measure(turns(with_earlier(works, earlier), peer), directory, options.workers)
    versions = {**facts(), **({"peer": REQUIREMENT} if peer else {})}
    return Report(results, works, options.workers, versions)


def chosen_works(options: argparse.Namespace) -> tuple[Work, ...]:
    """The works to do, as the options change them."""
    available = [work for work in WORKS if HAS_PROC or work.measure in ("run", "compile")]
    usual = [work.name for work in available if options.long or not work.long]
    chosen = [work for work in available if work.name in (options.flow or usual)]
    return tuple(_changed(work, options) for work in chosen)


def parser() -> argparse.ArgumentParser:
    """The options."""
    about = "Times, memory and compilation of flows, by Metaflow's scheduler and by Dagster."
    found = argparse.ArgumentParser(prog="python -m tests.bench", description=about)
    add = found.add_argument
    flows = [work.name for work in WORKS]
    text = "Repeatable. Default: all that are not long."
    add("--flow", action="append", choices=flows, help=text)
    long = ", ".join(work.name for work in WORKS if work.long)
    add("--long", action="store_true", help=f"Also what takes hours: {long}.")
    names = [runner.name for runner in (*RUNNERS, EARLIER)]
    add("--runner", action="append", choices=names, help="Repeatable. Default: by flow.")
    add("--repetitions", type=_positive, help="Rounds. Default: one to three, by flow.")
    add("--workers", type=_positive, default=2, help="Tasks at once. Default: %(default)s.")
    add("--peer", action="store_true", help=f"Compare with {REQUIREMENT} too, once.")
    add("--json", type=_new_file, metavar="FILE", help="Write all measurements.")
    add("--markdown", type=_new_file, metavar="FILE", help="Write the tables.")
    add("--page", type=_old_file, metavar="FILE", help="Write them in place of those of a page.")
    return found


def with_earlier(works: Sequence[Work], earlier: Compiled | None) -> list[Work]:
    """The works with the earlier state of the project where it is, or without it."""
    return [replace(work, runners=tuple(_available(work, earlier))) for work in works]


def _available(work: Work, earlier: Compiled | None) -> Iterator[Runner]:
    for runner in work.runners:
        if runner is not EARLIER:
            yield runner
        elif earlier:
            yield earlier


def _changed(work: Work, options: argparse.Namespace) -> Work:
    changed = replace(work, repetitions=options.repetitions or work.repetitions)
    if options.runner and work.measure != "compile":
        runners = tuple(one for one in (*RUNNERS, EARLIER) if one.name in options.runner)
        changed = replace(changed, runners=runners, once=())
    return changed


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


def _old_file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is no file")
    return Path(text)


def _new_file(text: str) -> Path:
    # Known before the measurements, not after.
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the directory {path.parent} does not exist")
    return path


if __name__ == "__main__":
    sys.exit(main())
