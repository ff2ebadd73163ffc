"""The flows that are run and compiled, as source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

# In the environment of a run: the file its last step makes, and what no other run has.
END_VARIABLE = "FLOW_BENCHMARK_END"
MARK_VARIABLE = "FLOW_BENCHMARK_RUN"
SECONDS_TO_MEET = 60.0
SECONDS_TO_STAY = 0.5  # some samples of the memory
LONGEST_CHAIN = 50  # Metaflow recurses along a chain, to about 980 steps

MEETING = f"""\
def meet(number):
    marks = Path(os.environ[{END_VARIABLE!r}] + "-" + os.environ[{MARK_VARIABLE!r}])
    marks.mkdir(exist_ok=True)
    (marks / str(os.getpid())).touch()
    deadline = time.monotonic() + {SECONDS_TO_MEET}
    while len(list(marks.iterdir())) < number:
        assert time.monotonic() < deadline, f"{{number}} tasks do not run at once"
        time.sleep(0.05)
    time.sleep({SECONDS_TO_STAY})


"""


@dataclass(frozen=True)
class BenchFlow:
    """A flow; `name` is that of its class and of its job, `tasks` how many a run has."""

    name: str
    tasks: int
    source: str


@dataclass(frozen=True)
class _Step:
    name: str
    body: Sequence[str]
    joins: bool = False

    def lines(self) -> Iterator[str]:
        yield "    @step"
        yield f"    def {self.name}(self{', inputs' if self.joins else ''}):"
        yield from (f"        {line}" for line in self.body)
        yield ""


def foreach(items: int) -> BenchFlow:
    """A foreach over so many items."""
    steps = (
        _Step("start", (f"self.items = list(range({items}))", _next("body", foreach="items"))),
        _Step("body", ("self.square = self.input**2", _next("gather"))),
        _Step("gather", ("self.total = sum(one.square for one in inputs)", _next("end")), True),
        _end("self.total", sum(n * n for n in range(items))),
    )
    return _flow(f"Foreach{items}", items + 3, steps)


def meeting(items: int, tasks: int) -> BenchFlow:
    """A foreach of which so many tasks are there at once, however short they are.

    Otherwise who starts tasks slowly would need little memory.
    """
    flow = foreach(items)
    source = flow.source.replace("class ", f"{MEETING}class ", 1)
    square = "self.square = self.input**2"
    return replace(flow, source=source.replace(square, f"meet({tasks})\n        {square}"))


def nested(outer: int, inner: int) -> BenchFlow:
    """A foreach over `inner` items in each of the `outer` items of another."""
    total = "self.total = sum(one.total for one in inputs)"
    steps = (
        _Step("start", (f"self.outer = list(range({outer}))", _next("divide", foreach="outer"))),
        _Step(
            "divide",
            (f"self.inner = [self.input] * {inner}", _next("body", foreach="inner")),
        ),
        _Step("body", ("self.total = self.input", _next("gather_inner"))),
        _Step("gather_inner", (total, _next("gather_outer")), True),
        _Step("gather_outer", (total, _next("end")), True),
        _end("self.total", sum(range(outer)) * inner),
    )
    return _flow(f"Nested{outer}x{inner}", outer * inner + 2 * outer + 3, steps)


def chain(steps: int) -> BenchFlow:
    """So many steps one after the other."""
    inner = [f"step_{n}" for n in range(1, steps - 1)]
    parts = (
        _Step("start", ("self.count = 1", _next(inner[0]))),
        *_links((*inner, "end"), "self.count += 1"),
        _end("self.count", steps - 1),
    )
    return _flow(f"Chain{steps}", steps, parts)


def split(width: int) -> BenchFlow:
    """A split into so many branches of a step each."""
    branches = [f"branch_{n}" for n in range(width)]
    parts = (
        _Step("start", ("self.number = 0", _next(*branches))),
        *(_Step(b, (f"self.number = {n}", _next("gather"))) for n, b in enumerate(branches)),
        _Step("gather", ("self.total = sum(one.number for one in inputs)", _next("end")), True),
        _end("self.total", sum(range(width))),
    )
    return _flow(f"Split{width}", width + 3, parts)


def many_steps(steps: int) -> BenchFlow:
    """A flow of so many steps: chains between a split and a join, which is only compiled."""
    chains = [
        [f"step_{n}" for n in range(first, min(first + LONGEST_CHAIN, steps - 3))]
        for first in range(0, steps - 3, LONGEST_CHAIN)
    ]
    parts = (
        _Step("start", (_next(*(links[0] for links in chains)),)),
        *(link for links in chains for link in _links((*links, "gather"), "pass")),
        _Step("gather", (_next("end"),), True),
        _Step("end", ("pass",)),
    )
    return _flow(f"Steps{steps}", steps, parts)


def _links(names: Sequence[str], work: str) -> Iterator[_Step]:
    for name, following in pairwise(names):
        yield _Step(name, (work, _next(following)))


def _next(*targets: str, foreach: str | None = None) -> str:
    arguments = [f"self.{target}" for target in targets]
    if foreach:
        arguments.append(f"foreach={foreach!r}")
    return f"self.next({', '.join(arguments)})"


def _end(value: str, expected: int) -> _Step:
    # The file tells a run that has come to its end from one that only says so.
    touch = f"open(os.environ[{END_VARIABLE!r}], 'w').close()"
    return _Step("end", (f"assert {value} == {expected}", touch))


def _flow(name: str, tasks: int, steps: Iterable[_Step]) -> BenchFlow:
    lines = [
        "import os",
        "import time",
        "from pathlib import Path",
        "",
        "from metaflow import FlowSpec, step",
        "",
        "",
    ]
    lines.append(f"class {name}(FlowSpec):")
    lines += [line for one in steps for line in one.lines()]
    lines += ["", 'if __name__ == "__main__":', f"    {name}()", ""]
    return BenchFlow(name, tasks, "\n".join(lines))
