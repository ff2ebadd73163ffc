from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.bench import flows
from tests.bench.__main__ import chosen_works, parser, with_earlier
from tests.bench.execution import (
    MIB,
    Command,
    RunFailed,
    own_memory,
    own_seconds,
    peak_memory,
    seconds,
)
from tests.bench.flows import MARK_VARIABLE, BenchFlow
from tests.bench.peer import REQUIREMENT
from tests.bench.processes import ProcessTree
from tests.bench.report import Report, Table
from tests.bench.results import Results, Series, Size, pair_differences, pair_ratios
from tests.bench.runners import DEFAULT, EARLIER, FRESH, NATIVE, Peer
from tests.bench.targets import (
    Target,
    compile_growth,
    compile_slope_growth,
    item_growth,
    marginal_ratio,
    slope_growth,
    targets,
)
from tests.bench.works import WORKS, Work, turns
from tests.services.distance import distant

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc says what processes share")
PEER = Peer("python")

# A machine of which the second round was twice as slow, and the tasks of Dagster a quarter.
RESULTS = Results(
    (
        Series("foreach-8", "native", (2.0, 4.0)),
        Series("foreach-8", "default", (3.0, 6.0)),
        Series("foreach-100", "native", (11.2, 22.4)),
        Series("foreach-100", "default", (14.5, 29.0)),
        Series("foreach-100", "peer", (56.0,)),
        Series("foreach-1000", "default", (127.0,)),
        Series("memory-100", "native", (400.0,)),
        Series("memory-100", "default", (500.0,)),
        Series("compile-250", "show", (0.5, 0.5)),
        Series("compile-250", "create", (1.0, 1.0)),
        Series("compile-500", "show", (0.5, 1.0)),
        Series("compile-500", "create", (1.5, 2.0)),
        Series("compile-1000", "show", (0.5, 0.5)),
        Series("compile-1000", "create", (2.5, 2.5)),
        Series("compile-2000", "show", (1.0, 1.0)),
        Series("compile-2000", "create", (5.0, 5.0)),
    )
)


def works(*names: str) -> tuple[Work, ...]:
    return tuple(work for work in WORKS if work.name in names)


class TestArithmetic:
    def test_pairs_are_compared_round_by_round_as_far_as_both_go(self) -> None:
        assert pair_ratios((3.0, 6.0, 9.0), (2.0, 3.0)) == (1.5, 2.0)
        assert pair_differences((3.0,), (2.0, 3.0)) == (1.0,)

    def test_the_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians(self) -> None:
        series = (Series("w", "native", (1.0, 2.0, 10.0)), Series("w", "own", (4.0, 2.0, 5.0)))
        assert Results(series).ratio("w", "own", "native") == 1.0

    def test_one_round_is_compared_with_the_first(self) -> None:
        assert RESULTS.ratio("foreach-100", "peer", "native") == pytest.approx(5.0)

    def test_what_was_not_measured_has_no_numbers(self) -> None:
        assert RESULTS.median("foreach-8", "fresh") is None
        assert RESULTS.ratio("foreach-8", "fresh", "native") is None
        assert RESULTS.slopes(Size("foreach-8", 11), Size("foreach-100", 103), "fresh") == ()
        assert item_growth(RESULTS, "fresh") is None

    def test_the_marginal_cost_leaves_out_what_every_run_costs(self) -> None:
        small, large = Size("foreach-8", 11), Size("foreach-100", 103)
        assert RESULTS.slopes(small, large, "native") == pytest.approx((0.1, 0.2))
        assert marginal_ratio(RESULTS) == pytest.approx(1.25)

    def test_growth_of_what_is_linear_is_one_even_if_later_rounds_are_slower(self) -> None:
        assert slope_growth(RESULTS, "default") == pytest.approx(1.0)

    def test_the_start_makes_the_items_of_a_small_run_dearer(self) -> None:
        assert item_growth(RESULTS, "default") == pytest.approx(0.127 / 0.145)

    def test_a_quadratic_part_shows(self) -> None:
        times = {"foreach-8": 8, "foreach-100": 100, "foreach-1000": 1000}
        series = tuple(Series(w, "fresh", (1 + n + n * n / 100,)) for w, n in times.items())
        assert slope_growth(Results(series), "fresh") == pytest.approx(12 / 2.08)

    def test_compilation_is_what_reading_does_not_take(self) -> None:
        assert RESULTS.differences("compile-500", "create", "show") == (1.0, 1.0)
        assert compile_growth(RESULTS) == 1.0
        assert compile_slope_growth(RESULTS) == 1.0


class TestReport:
    report = Report(RESULTS, WORKS, 2, {"cores": "2"})

    def test_a_table_is_aligned(self) -> None:
        table = Table("Title", ("a", "b"), (("long", "1"),))
        assert table.markdown() == "## Title\n\n| a    | b |\n| ---- | - |\n| long | 1 |\n"

    @pytest.mark.parametrize(
        "cells",
        [
            ("11 tasks, against native", "≤ 1.0", "1.50", "no"),
            ("marginal cost of a task, against native", "≤ 0.35", "1.25", "no"),
            ("compiling 500 steps", "≤ 1.0 s", "1.00 s", "yes"),
            ("foreach-8", "11", "default", "4.50 s", "3.00 s", "6.00 s", "2", "1.50"),
            ("memory-100", "103", "default", "500 MiB", "500 MiB", "500 MiB", "1", "1.25"),
            ("default", "187.5 ms", "1.25", "125.0 ms", "1.00"),
            ("500", "0.75 s", "1.75 s", "1.00 s", "2.0 ms"),
            ("cores", "2"),
        ],
    )
    def test_rows(self, cells: tuple[str, ...]) -> None:
        rows = [_cells(line) for line in self.report.markdown().splitlines()]
        assert cells in rows

    def test_no_table_for_what_was_not_measured(self) -> None:
        series = (Series("chain-30", "native", (1.0,)),)
        text = Report(Results(series), works("chain-30"), 2, {"cores": "2"}).markdown()
        assert [line for line in text.splitlines() if line.startswith("##")] == [
            "## Runs, 2 workers",
            "## Machine",
        ]

    def test_a_page_gets_the_tables_and_keeps_its_text(self) -> None:
        before = "# Page\n\n## Targets\n\nold\n\n## Machine\n\nold\n\n## Text\n\nkept\n"
        page = self.report.page(before)
        assert page == self.report.page(page)
        assert [line for line in page.splitlines() if line.startswith("#")][:2] == [
            "# Page",
            "## Targets",
        ]
        assert page.endswith("| cores | 2 |\n\n## Text\n\nkept\n")
        assert "old" not in page
        assert self.report.markdown().partition("## Machine")[0] in page

    def test_json_has_every_measurement_and_every_target(self) -> None:
        found = json.loads(self.report.json())
        assert {"work": "foreach-8", "runner": "native", "values": [2.0, 4.0]} in found["series"]
        assert len(found["targets"]) == len(list(targets()))

    def test_targets_are_about_what_there_is(self) -> None:
        names = {work.name for work in WORKS}
        runners = {"native", "default", "fresh", "multiprocess", "show", "create", "c0de856"}
        series = tuple(Series(name, runner, (1.0,)) for name in names for runner in runners)
        # Two sizes that take the same have no slope, hence the exception.
        assert all(_is_known(target, Results(series)) for target in targets())


class TestTurns:
    def test_runners_take_turns(self) -> None:
        work = Work("w", "run", flows.foreach(1), 2, (NATIVE, DEFAULT), (FRESH,))
        names = [turn.runner.name for turn in turns([work], PEER)]
        assert names == ["native", "default", "fresh", "native", "default"]

    def test_works_take_turns_so_that_a_round_has_all(self) -> None:
        found = turns(works("foreach-8", "foreach-100"), None)
        second = [turn.work.name for turn in found].index("foreach-8", 6)
        assert {turn.work.name for turn in found[:second]} == {"foreach-8", "foreach-100"}

    def test_the_peer_runs_once_where_it_is_wanted(self) -> None:
        found = [turn.work.name for turn in turns(WORKS, PEER) if turn.runner is PEER]
        assert found == ["foreach-8", "foreach-100"]


class TestCommandLine:
    def test_everything_is_the_default(self) -> None:
        assert {work.name for work in chosen_works(parser().parse_args([]))} >= {
            "foreach-1000",
            "compile-2000",
        }

    def test_what_takes_long_has_to_be_asked_for(self) -> None:
        usual, all_of_them, named = (
            {work.name for work in chosen_works(parser().parse_args(text.split()))}
            for text in ("", "--long", "--flow daemon-1000")
        )
        assert all_of_them - usual == {work.name for work in WORKS if work.long}
        assert named == {"daemon-1000"}

    def test_the_earlier_state_is_left_out_where_there_is_no_history(self) -> None:
        (work,) = works("cpu-8")
        ((without,), (with_it,)) = (
            with_earlier([work], found) for found in (None, EARLIER.at(Path("/there")))
        )
        assert [runner.name for runner in without.runners] == ["default"]
        assert [runner.place for runner in with_it.runners] == [None, Path("/there")]

    def test_flows_runners_and_repetitions_are_chosen(self) -> None:
        text = "--flow foreach-8 --flow compile-250 --runner default --repetitions 4"
        run, compilation = chosen_works(parser().parse_args(text.split()))
        assert (run.runners, run.once, run.repetitions) == ((DEFAULT,), (), 4)
        assert [runner.name for runner in compilation.runners] == ["show", "create"]

    @pytest.mark.parametrize(
        "text", ["--flow none", "--runner peer", "--workers 0", "--json /none/file"]
    )
    def test_mistakes_are_found_before_anything_runs(self, text: str) -> None:
        with pytest.raises(SystemExit):
            parser().parse_args(text.split())

    def test_the_peer_is_a_released_version(self) -> None:
        assert REQUIREMENT.count("==") == 1


class TestFlows:
    @pytest.mark.parametrize(
        ("flow", "steps"),
        [
            (flows.foreach(8), 4),
            (flows.meeting(100, 16), 4),
            (flows.nested(10, 10), 6),
            (flows.chain(30), 30),
            (flows.split(50), 53),
            *((flows.many_steps(steps), steps) for steps in (250, 500, 1000, 2000)),
        ],
        ids=lambda value: value.name if isinstance(value, BenchFlow) else str(value),
    )
    def test_source(self, flow: BenchFlow, steps: int) -> None:
        (found,) = [
            node for node in ast.walk(ast.parse(flow.source)) if isinstance(node, ast.ClassDef)
        ]
        assert found.name == flow.name
        assert len({each.name for each in found.body if isinstance(each, ast.FunctionDef)}) == steps

    def test_tasks(self) -> None:
        assert flows.foreach(8).tasks == 11
        assert flows.nested(10, 10).tasks == 1 + 10 + 100 + 10 + 1 + 1
        assert flows.split(50).tasks == 53


class TestExecution:
    def test_time(self, tmp_path: Path) -> None:
        assert seconds(_command(tmp_path, "import time; time.sleep(0.2)")) >= 0.2

    def test_what_fails_is_told_with_its_output(self, tmp_path: Path) -> None:
        with pytest.raises(RunFailed, match=r"(?s)the reason.*ended with 1"):
            seconds(_command(tmp_path, "raise SystemExit('the reason')"))

    def test_a_run_that_did_not_come_to_its_end_fails(self, tmp_path: Path) -> None:
        with pytest.raises(RunFailed, match="not come to its end"):
            seconds(_command(tmp_path, "", runs_flow=True))

    @ON_LINUX
    def test_memory_is_that_of_all_processes(self, tmp_path: Path) -> None:
        # The memory is a grandchild's, in a session of its own, which has lost its parent.
        hold = f"import time; held = b'1' * {64 * MIB}; time.sleep(1)"
        assert peak_memory(_command(tmp_path, _orphan(hold) + "; time.sleep(1)")) > 64

    @ON_LINUX
    def test_own_time_and_memory_are_without_those_of_others(self, tmp_path: Path) -> None:
        busy = "import time\nheld = b'1' * 2**{}\nwhile time.process_time() < {}: pass"
        child = (
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy.format(0, 1)!r}])"
        )
        assert own_seconds(_command(tmp_path, child)) < 0.5
        assert own_seconds(_command(tmp_path, busy.format(0, 0.5))) >= 0.4
        assert own_memory(_command(tmp_path, busy.format(26, 0))) > 64

    def test_answers_from_a_distance_take_their_time(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            distant(server.getsockname()[1], 0.2) as port,
            socket.create_connection(("127.0.0.1", port)) as near,
            server.accept()[0] as far,
        ):
            began = time.monotonic()
            near.sendall(b"question")
            far.sendall(far.recv(8))
            assert near.recv(8) == b"question"
            assert 0.2 <= time.monotonic() - began < 2

    @ON_LINUX
    def test_nothing_outlives_a_run_that_fails(self, tmp_path: Path) -> None:
        code = _orphan("import time; time.sleep(60)") + "; raise SystemExit(1)"
        command = _command(tmp_path, code)
        with pytest.raises(RunFailed):
            seconds(command)
        assert not [process for process in psutil.process_iter() if _is_below(process, tmp_path)]


@ON_LINUX
def test_a_tree_is_found_by_its_mark_and_by_descent(tmp_path: Path) -> None:
    unmarked = "subprocess.Popen(['sleep', '60'], env={})"
    code = f"{_orphan('import time; time.sleep(60)')}; {unmarked}; time.sleep(60)"
    mark = uuid.uuid4().hex
    with subprocess.Popen([sys.executable, "-c", code], env={MARK_VARIABLE: mark}) as process:
        tree = ProcessTree(psutil.Process(process.pid), mark)
        _wait_for(tree, 3)
        assert not tree.gone_within(0.1)
        tree.end()
        assert tree.gone_within(0)


def _wait_for(tree: ProcessTree, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(tree.processes()) != number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _orphan(code: str) -> str:
    inner = [sys.executable, "-c", code]
    outer = f"import subprocess; subprocess.Popen({inner!r}, start_new_session=True)"
    return f"import subprocess, time; subprocess.run({[sys.executable, '-c', outer]!r})"


def _command(directory: Path, code: str, runs_flow: bool = False) -> Command:
    return Command((sys.executable, "-c", code), directory, {}, runs_flow)


def _is_below(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(directory)
    except psutil.Error:
        return False


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))


def _is_known(target: Target, results: Results) -> bool:
    try:
        return target.reached(results) is not None
    except ZeroDivisionError:
        return True
