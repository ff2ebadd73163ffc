"""What the project is to reach, and what of it is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.bench.results import Results, Size, middle, pair_differences, pair_ratios

NATIVE, EARLIER = "native", "c0de856"
# By tasks, as every task is a process; and by items, of which the cost is to be linear.
TASKS_11, TASKS_103 = Size("foreach-8", 11), Size("foreach-100", 103)
ITEMS_100, ITEMS_1000 = Size("foreach-100", 100), Size("foreach-1000", 1000)
CPU_11, CPU_103 = Size("cpu-8", 11), Size("cpu-100", 103)
ITEMS_10000 = Size("foreach-10000", 10_000)
STEPS_250, STEPS_500 = Size("compile-250", 250), Size("compile-500", 500)
STEPS_1000, STEPS_2000 = Size("compile-1000", 1000), Size("compile-2000", 2000)


@dataclass(frozen=True)
class Target:
    """A number that must not exceed its limit: a ratio, or seconds if that is the `unit`."""

    work: str
    limit: float
    reached: Callable[[Results], float | None]
    unit: str = ""


def targets() -> Iterator[Target]:
    """All of them, in the order of the table."""
    yield Target("11 tasks, against native", 1.0, _ratio("foreach-8", "default"))
    yield Target("100 items, against native", 0.35, _ratio("foreach-100", "default"))
    yield Target("1,000 items, against native", 0.28, _ratio("foreach-1000", "default"))
    yield Target("chain of 30 steps, against native", 0.45, _ratio("chain-30", "default"))
    yield Target("marginal cost of a task, against native", 0.35, marginal_ratio)
    yield Target("100 items, fresh, against native", 1.1, _ratio("foreach-100", "fresh"))
    yield Target("11 tasks, multiprocess, against native", 2.5, _ratio("foreach-8", "multiprocess"))
    cpu = partial(earlier_ratio, small=CPU_11, large=CPU_103)
    time = partial(earlier_ratio, small=TASKS_11, large=TASKS_103)
    yield Target(f"CPU of a task more in the run's process, against {EARLIER}", 0.5, cpu)
    yield Target(f"marginal cost of a task, against {EARLIER}", 0.5, time)
    daemon = _ratio("daemon-1000", "default")
    yield Target("1,000 items through the daemon on PostgreSQL, against native", 0.4, daemon)
    for items in ("100", "1,000"):
        work = f"distant-{items.replace(',', '')}"
        title = f"{items} items, 20 ms from PostgreSQL, against {EARLIER}"
        yield Target(title, 0.5, _ratio(work, "default", EARLIER))
    large = partial(item_growth, runner="default", small=ITEMS_1000, large=ITEMS_10000)
    yield Target("10,000 items: time per item against 1,000", 1.15, large)
    yield Target("10,000 items: peak memory of the run's process against 1,000", 3.0, peak_growth)
    for runner in ("default", "fresh"):
        growth = partial(item_growth, runner=runner)
        curve = partial(slope_growth, runner=runner)
        yield Target(f"1,000 items, {runner}: time per item against 100", 1.3, growth)
        yield Target(f"1,000 items, {runner}: marginal cost against 100", 1.3, curve)
    for runner, limit in (("default", 0.7), ("fresh", 1.5)):
        work = f"peak memory, 100 items at 16 workers, {runner}, against native"
        yield Target(work, limit, _ratio("memory-100", runner))
    yield Target("compiling 500 steps", 1.0, partial(compile_seconds, work="compile-500"), " s")
    yield Target("compiling 2,000 steps: time per step against 500", 1.3, compile_growth)
    yield Target("compiling 2,000 steps: marginal cost against 1,000", 1.3, compile_slope_growth)


def marginal_ratio(results: Results, runner: str = "default") -> float | None:
    """What a task more costs, of 100 items against 8, in multiples of native."""
    own, native = (results.slopes(TASKS_11, TASKS_103, one) for one in (runner, NATIVE))
    return middle(pair_ratios(own, native))


def earlier_ratio(results: Results, small: Size, large: Size) -> float | None:
    """What a task more costs, in multiples of what it cost in the earlier state."""
    now, earlier = (results.slopes(small, large, one) for one in ("default", EARLIER))
    return middle(pair_ratios(now, earlier))


def peak_growth(results: Results) -> float | None:
    """The memory of the run's process at 10,000 items against that at 1,000."""
    large, small = (results.values(f"peak-{items}", "default") for items in (10_000, 1000))
    return middle(pair_ratios(large, small))


def item_growth(
    results: Results, runner: str, small: Size = ITEMS_100, large: Size = ITEMS_1000
) -> float | None:
    """Time per item of a large run against that of a small one, start and end included."""
    return middle(pair_ratios(results.shares(large, runner), results.shares(small, runner)))


def slope_growth(results: Results, runner: str) -> float | None:
    """What an item costs between 100 and 1,000 against between 8 and 100; 1 if it is linear."""
    large = results.slopes(ITEMS_100, ITEMS_1000, runner)
    return middle(pair_ratios(large, results.slopes(TASKS_11, TASKS_103, runner)))


def compile_seconds(results: Results, work: str) -> float | None:
    """What `dagster create` takes longer than `show`, which only reads the flow."""
    return middle(results.differences(work, "create", "show"))


def compile_growth(results: Results) -> float | None:
    """Seconds of compilation per step at 2,000 against those at 500; 1 if it is linear."""
    large, small = (
        [one / size.size for one in _compilations(results, size)]
        for size in (STEPS_2000, STEPS_500)
    )
    return middle(pair_ratios(large, small))


def compile_slope_growth(results: Results) -> float | None:
    """What a step costs from 1,000 to 2,000 against from 250 to 1,000; 1 if it is linear."""
    large, small = (
        [one / (more.size - less.size) for one in _compiling_more(results, less, more)]
        for less, more in ((STEPS_1000, STEPS_2000), (STEPS_250, STEPS_1000))
    )
    return middle(pair_ratios(large, small))


def _compiling_more(results: Results, less: Size, more: Size) -> tuple[float, ...]:
    return pair_differences(_compilations(results, more), _compilations(results, less))


def _compilations(results: Results, size: Size) -> tuple[float, ...]:
    return results.differences(size.work, "create", "show")


def _ratio(work: str, runner: str, reference: str = NATIVE) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(work, runner, reference)
