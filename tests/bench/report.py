"""The tables, as Markdown that reads well as it is, and the numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from tests.bench.results import Results, Series, Size, middle
from tests.bench.targets import (
    ITEMS_100,
    ITEMS_1000,
    NATIVE,
    TASKS_11,
    TASKS_103,
    Target,
    compile_seconds,
    item_growth,
    marginal_ratio,
    slope_growth,
    targets,
)
from tests.bench.works import MEMORY_WORKERS, Measure, Work

UNKNOWN = "-"
MS = 1000  # milliseconds in a second

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows below a header, with a title."""

    title: str
    header: Row
    rows: tuple[Row, ...]

    def markdown(self) -> str:
        """The table with its title, columns aligned."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        ruler = tuple("-" * width for width in widths)
        lines = [_line(row, widths) for row in (self.header, ruler, *self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, ""])


@dataclass(frozen=True)
class Report:
    """All that a benchmark says: of which works, at how many workers, on which machine."""

    results: Results
    works: Sequence[Work]
    workers: int
    facts: Mapping[str, str]

    def markdown(self) -> str:
        """Every table that has rows."""
        return "\n".join(table.markdown() for table in self._tables() if table.rows)

    def page(self, text: str) -> str:
        """A page with these tables in place of its own; those of other measurements stay."""
        for table in self._tables():
            if table.rows:
                text = _with_section(text, table.markdown())
        return text

    def json(self) -> str:
        """Every measurement, with the targets."""
        found = {
            "machine": dict(self.facts),
            "workers": self.workers,
            "series": [asdict(one) for one in self.results.series],
            "targets": [_target_json(one, self.results) for one in targets()],
        }
        return json.dumps(found, indent=2) + "\n"

    def _tables(self) -> Iterator[Table]:
        yield Table("Targets", ("work", "to reach", "reached", ""), self._target_rows())
        header = ("flow", "tasks", "runner", "median", "from", "to", "rounds", "of native")
        yield Table(f"Runs, {self.workers} workers", header, self._rows("run", "s"))
        yield Table(
            "What a task more costs",
            ("runner", "11 to 103 tasks", "of native", "103 to 1,003 tasks", "of that before"),
            tuple(self._slope_rows()),
        )
        yield Table(
            "Time per item",
            ("runner", "100 items", "1,000 items", "of that at 100"),
            tuple(self._item_rows()),
        )
        yield Table(f"Peak memory, {MEMORY_WORKERS} workers", header, self._rows("memory", "MiB"))
        yield Table("CPU of the run's process", header, self._rows("cpu", "s"))
        yield Table("Peak memory of the run's process", header, self._rows("peak", "MiB"))
        yield Table(
            "Compiling",
            ("steps", "flow.py show", "dagster create", "difference", "a step"),
            tuple(self._compile_rows()),
        )
        yield Table("Machine", ("", ""), tuple(self.facts.items()))

    def _target_rows(self) -> tuple[Row, ...]:
        rows = (_target_row(one, self.results) for one in targets())
        return tuple(row for row in rows if row[-1])

    def _rows(self, measure: Measure, unit: str) -> tuple[Row, ...]:
        return tuple(
            _row(self.results, work, series, unit)
            for work in self.works
            if work.measure == measure
            for series in self.results.series
            if series.work == work.name
        )

    def _slope_rows(self) -> Iterator[Row]:
        for runner in self._runners_of(TASKS_11, TASKS_103):
            yield (
                runner,
                _ms(middle(self.results.slopes(TASKS_11, TASKS_103, runner))),
                shown(marginal_ratio(self.results, runner)),
                _ms(middle(self.results.slopes(ITEMS_100, ITEMS_1000, runner))),
                shown(slope_growth(self.results, runner)),
            )

    def _item_rows(self) -> Iterator[Row]:
        for runner in self._runners_of(ITEMS_100, ITEMS_1000):
            yield (
                runner,
                _ms(middle(self.results.shares(ITEMS_100, runner))),
                _ms(middle(self.results.shares(ITEMS_1000, runner))),
                shown(item_growth(self.results, runner)),
            )

    def _runners_of(self, *sizes: Size) -> Iterator[str]:
        for runner in dict.fromkeys(series.runner for series in self.results.series):
            if all(self.results.values(one.work, runner) for one in sizes):
                yield runner

    def _compile_rows(self) -> Iterator[Row]:
        for work in self.works:
            if work.measure == "compile":
                more = compile_seconds(self.results, work.name)
                yield (
                    str(work.flow.tasks),
                    shown(self.results.median(work.name, "show"), " s"),
                    shown(self.results.median(work.name, "create"), " s"),
                    shown(more, " s"),
                    _ms(None if more is None else more / work.flow.tasks),
                )


def _with_section(text: str, section: str) -> str:
    """A page with a section in place of the one of that title, or else before the last table's."""
    title = section.partition("\n")[0]
    begin = text.find(f"{title}\n")
    if begin < 0:
        begin = end = text.index("## Machine\n")
    else:
        following = text.find("\n## ", begin)
        end = following + 1 if following >= 0 else len(text)
    return f"{text[:begin]}{section}\n{text[end:]}"


def shown(value: float | None, unit: str = "") -> str:
    """A number as the tables have it."""
    return UNKNOWN if value is None else f"{value:.2f}{unit}"


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value * MS:.1f} ms"


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"| {' | '.join(cells)} |"


def _row(results: Results, work: Work, series: Series, unit: str) -> Row:
    digits = 0 if unit == "MiB" else 2
    middle = results.median(work.name, series.runner)
    values = (middle or 0, min(series.values), max(series.values))
    return (
        work.name,
        str(work.flow.tasks),
        series.runner,
        *(f"{value:.{digits}f} {unit}" for value in values),
        str(len(series.values)),
        shown(results.ratio(work.name, series.runner, NATIVE)),
    )


def _target_row(target: Target, results: Results) -> Row:
    value = target.reached(results)
    verdict = "" if value is None else "yes" if value <= target.limit else "no"
    return (
        target.work,
        f"≤ {target.limit}{target.unit}",
        shown(value, target.unit),
        verdict,
    )


def _target_json(target: Target, results: Results) -> dict[str, object]:
    return {"work": target.work, "limit": target.limit, "reached": target.reached(results)}
