from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from dagster import Config, DagsterInstance, OpExecutionContext, build_op_context
from hypothesis import given
from hypothesis import strategies as st
from metaflow._vendor import click
from metaflow.util import decompress_list
from pydantic import Field

from metaflow_dagster import runtime
from metaflow_dagster.runtime import CapturedProcess, FinishedTask, Task

indices = st.lists(st.integers(0, 99), max_size=3)
plain = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)


@pytest.fixture
def context() -> Iterator[OpExecutionContext]:
    with DagsterInstance.ephemeral() as instance, build_op_context(instance=instance) as made:
        yield made  # type: ignore[misc]


def task_path(index_path: Sequence[int], step: str = "step") -> str:
    key = "_".join(map(str, index_path)) or None
    return f"run/{step}/{runtime.repeatable_id(key, 0)}"


@pytest.mark.parametrize("path", ["", "run/step", "run/step/task/more"])
def test_no_task(path: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        runtime.parse_task(path)


@given(plain, plain, plain)
def test_task_survives_its_text(run_id: str, step: str, task_id: str) -> None:
    task = Task(run_id, step, task_id)
    assert runtime.parse_task(str(task)) == task


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        pytest.param("params", (), id="parameters"),
        pytest.param("t1", (), id="outside any foreach"),
        pytest.param("t1-0", (0,), id="foreach"),
        pytest.param("t1-0-12", (0, 12), id="nested foreach"),
        pytest.param("t1-3-r2", (3,), id="repetition"),
        pytest.param("t1-r2", (), id="repetition outside"),
        pytest.param("t1-4_node_1", (4,), id="node of a parallel step"),
    ],
)
def test_index_path(task_id: str, path: tuple[int, ...]) -> None:
    assert runtime.index_path(f"run/step/{task_id}") == path


@given(indices, st.integers(0, 20))
def test_ids_hold_the_index_path(index_path: list[int], repetition: int) -> None:
    key = "_".join(map(str, index_path)) or None
    task_id = runtime.repeatable_id(key, repetition)
    assert runtime.index_path(f"run/step/{task_id}") == tuple(index_path)
    # Metaflow takes an integer for a task it knows, and compresses paths with these.
    assert not task_id.isdigit()
    assert not set(task_id) & set(",:!/")


@given(st.lists(st.tuples(indices, st.integers(0, 3)), unique_by=str))
def test_ids_are_distinct(tasks: list[tuple[list[int], int]]) -> None:
    ids = {runtime.repeatable_id("_".join(map(str, i)) or None, r) for i, r in tasks}
    assert len(ids) == len(tasks)


@pytest.mark.parametrize(
    ("paths", "result"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([[], []], [], id="empty lists"),
        pytest.param(["r/a/t1-10", "r/a/t1-9"], ["r/a/t1-9", "r/a/t1-10"], id="by number"),
        pytest.param([["r/a/t1-1"], ["r/b/t1-0"]], ["r/b/t1-0", "r/a/t1-1"], id="several lists"),
        pytest.param([[["r/a/t1-0-1"]], [["r/a/t1-0-0"]]], ["r/a/t1-0-0", "r/a/t1-0-1"], id="deep"),
        pytest.param(["r/b/t1", "r/a/t1"], ["r/b/t1", "r/a/t1"], id="order is kept otherwise"),
    ],
)
def test_flat(paths: list[Any], result: list[str]) -> None:
    assert runtime.flat(paths) == result


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), unique_by=lambda one: one[0]))
def test_items_fanned_out_are_numbered_by_task(tasks: list[tuple[int, int]]) -> None:
    lists = [[task_path([outer])] * count for outer, count in tasks]
    expected = {f"{outer}_{inner}" for outer, count in tasks for inner in range(count)}
    for paths in (lists, [lists], [path for one in lists for path in one]):
        outputs = list(runtime.fanned_out(paths))
        assert {one.mapping_key for one in outputs} == expected
        assert len(outputs) == len(expected)
        assert all(one.value == task_path([int(one.mapping_key.split("_")[0])]) for one in outputs)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), unique=True), st.integers(1, 2))
def test_regrouped_by_outer_indices(paths: list[tuple[int, int, int]], depth: int) -> None:
    groups = {
        one.mapping_key: one.value
        for one in runtime.regrouped([[task_path(path) for path in paths]], depth)
    }
    assert sorted(path for group in groups.values() for path in group) == sorted(
        map(task_path, paths)
    )
    for key, group in groups.items():
        outer = tuple(map(int, key.split("_")))
        assert len(outer) == depth
        assert {runtime.index_path(path)[:depth] for path in group} == {outer}
        assert group == sorted(group, key=runtime.index_path)


@pytest.mark.parametrize(
    ("transition", "step"),
    [
        pytest.param(None, "", id="none"),
        pytest.param(([], None), "", id="empty"),
        pytest.param((["a"], None), "a", id="as Metaflow stores it"),
        pytest.param((["a", "b"], None), "a", id="split"),
    ],
)
def test_chosen_step(transition: Any, step: str) -> None:
    assert runtime.chosen_step(transition) == step


def finished(**values: Any) -> FinishedTask:
    return FinishedTask(
        **{"path": "r/s/t1", "num_splits": 0, "target": "", "nodes": []}
        | values
        | {"metadata": {"n": 1}}
    )


def test_unbounded_foreach_is_refused() -> None:
    with pytest.raises(runtime.Failure, match="unbounded foreach") as raised:
        runtime.foreach_list(finished())
    assert raised.value.allow_retries is False


def test_outputs() -> None:
    assert runtime.task_output(finished()).value == "r/s/t1"
    assert runtime.foreach_list(finished(num_splits=2)).value == ["r/s/t1", "r/s/t1"]
    assert runtime.nodes_output(finished(nodes=["r/s/t1", "x"])).value == ["r/s/t1", "x"]
    (chosen,) = runtime.switch_output(finished(target="b"), {"a": "to_a", "b": "to_b"})
    assert (chosen.output_name, chosen.value) == ("to_b", "r/s/t1")


def test_metadata_goes_with_the_first_output_only() -> None:
    split = list(runtime.split_outputs(finished(), "a", "b"))
    assert [(one.output_name, bool(one.metadata)) for one in split] == [("a", True), ("b", False)]
    items = list(runtime.foreach_outputs(finished(num_splits=2)))
    assert [(one.mapping_key, bool(one.metadata)) for one in items] == [("0", True), ("1", False)]


names = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.from_regex(r"[A-Za-z\xdf\u0131\u017f_-]{1,6}", fullmatch=True),
)


@given(names.filter(lambda name: name.replace("-", "_").lower().isidentifier()))
def test_parameter_variable_is_the_one_click_reads(name: str) -> None:
    option = click.Option(("--" + name,))
    command = click.Command("init", params=[option], callback=lambda **given: given)
    os.environ[runtime.parameter_variable(name)] = "there"
    try:
        # Metaflow's top-level command has the prefix METAFLOW, `init` gets METAFLOW_INIT.
        top = click.Context(click.Group("flow"), auto_envvar_prefix="METAFLOW")
        with command.make_context("init", [], parent=top) as made:
            assert made.params == {option.name: "there"}
    finally:
        del os.environ[runtime.parameter_variable(name)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("a b", "a b", id="text as it is"),
        pytest.param("5", "5", id="digits"),
        pytest.param(5, "5", id="int"),
        pytest.param(1.0, "1.0", id="float"),
        pytest.param(1e-9, "1e-09", id="small float"),
        pytest.param(True, "true", id="bool"),
        pytest.param([1, "a"], '[1, "a"]', id="list"),
        pytest.param({"a": None}, '{"a": null}', id="dict"),
        pytest.param("größe", "größe", id="not ASCII"),
    ],
)
def test_parameter_text(value: object, text: str) -> None:
    assert runtime.parameter_text(value) == text


@given(st.floats(allow_nan=False) | st.integers() | st.booleans())
def test_parameter_text_brings_the_value_back(value: float | int | bool) -> None:
    kind = click.BOOL if isinstance(value, bool) else click.types.convert_type(type(value))
    back = kind.convert(runtime.parameter_text(value), None, None)
    assert (type(back), back) == (type(value), value)


class Given(Config):
    required: str
    default: int = 1
    left: int | None = None
    renamed: str | None = Field(None, alias="re-named")
    nothing: Any = Field()


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        pytest.param(
            {"required": "a", "nothing": 0},
            {"required": "a", "default": 1, "nothing": 0},
            id="left out",
        ),
        pytest.param(
            {"required": "", "left": 0, "re-named": "x", "nothing": None},
            {"required": "", "default": 1, "left": 0, "re-named": "x", "nothing": None},
            id="falsy values are values",
        ),
    ],
)
def test_given_parameters(values: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert runtime.given_parameters(Given(**values)) == parameters
    assert runtime.given_values(Given, {"default": 1, **values}) == parameters


@pytest.mark.parametrize("count", [1, 2, 3, 50_000])
def test_input_options(count: int) -> None:
    paths = [f"dagster-{i:06}/step{i % 7}/t1-{i}" for i in range(count)]
    with runtime.input_options(paths) as (option,):
        assert len(option.encode()) < 128 * 1024
        name, _, value = option.partition("=")
        if name == "--input-paths-filename":
            assert count > 3
            value = Path(value).read_text()
        assert decompress_list(value) == paths


def test_input_options_of_very_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LONGEST_ARGUMENT", 20)
    paths = [f"run/step/t1-{i}" for i in range(100)]
    with runtime.input_options(paths) as (option,):
        name, _, file = option.partition("=")
        assert name == "--input-paths-filename"
        assert decompress_list(Path(file).read_text()) == paths
    assert not Path(file).exists()


def test_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.setattr(runtime, "HERE", "/nowhere")
    assert runtime.local_store()[runtime.SYSROOT] == "/nowhere"
    monkeypatch.setattr(runtime, "HERE", str(inner))
    (tmp_path / ".metaflow").mkdir()
    assert runtime.local_store() == {
        runtime.SYSROOT: str(tmp_path),
        "METAFLOW_DATATOOLS_LOCALROOT": str(tmp_path / ".metaflow" / "data"),
    }
    (tmp_path / "a" / ".metaflow").touch()
    assert runtime.local_store()[runtime.SYSROOT] == str(tmp_path), "a file is no datastore"
    (inner / ".metaflow").mkdir()
    assert runtime.local_store()[runtime.SYSROOT] == str(inner)
    monkeypatch.setattr("metaflow.metaflow_config.DATASTORE_SYSROOT_LOCAL", "/configured")
    assert runtime.local_store() == {runtime.SYSROOT: "/configured"}


def test_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "METAFLOW_STEP_ENV", {"A": "baked", "B": "baked"})
    monkeypatch.setenv("A", "inherited")
    monkeypatch.setenv("C", "inherited")
    environment = runtime.process_environment({"B": "step"})
    assert [environment[one] for one in "ABC"] == ["baked", "step", "inherited"]
    assert environment["METAFLOW_RUNTIME_NAME"] == "dagster"
    assert environment["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)


@pytest.mark.parametrize(
    ("variable", "user", "metaflow_user"),
    [
        pytest.param("OTHER", "somebody", "dagster", id="none"),
        pytest.param("USER", "root", "dagster", id="root"),
        pytest.param("SUDO_USER", "somebody", None, id="sudo"),
        pytest.param("USERNAME", "somebody", None, id="name"),
        pytest.param("USER", "somebody", None, id="user"),
    ],
)
def test_user(
    variable: str, user: str, metaflow_user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setattr("metaflow.metaflow_config.USER", None)
    monkeypatch.setenv(variable, user)
    assert runtime.process_environment({}).get("METAFLOW_USER") == metaflow_user


def run(
    context: OpExecutionContext, code: str, **extra: str
) -> tuple[CapturedProcess, bytes, bytes]:
    """Run Python code; how it ended, and what it wrote."""
    with runtime.captured_process(context, [sys.executable, "-c", code], extra) as process:
        return process, process.stdout.read_bytes(), process.stderr.read_bytes()


@pytest.mark.parametrize(
    ("code", "returncode", "ending"),
    [
        pytest.param("", 0, " with exit code 0.", id="success"),
        pytest.param("raise SystemExit(3)", 3, " with exit code 3.", id="exit code"),
        pytest.param(
            "import os; os.kill(os.getpid(), 9)",
            -9,
            ": its process was ended by SIGKILL.",
            id="signal",
        ),
        pytest.param(
            "import os; os.kill(os.getpid(), 40)",
            -40,
            ": its process was ended by signal 40.",
            id="signal without a name",
        ),
    ],
)
def test_ending(context: OpExecutionContext, code: str, returncode: int, ending: str) -> None:
    process, _, _ = run(context, code)
    assert (process.returncode, process.ending()) == (returncode, ending)


def test_output_is_kept_and_passed_on(
    context: OpExecutionContext, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os, sys\n"
        "print('Größe ✓', os.environ['X'])\n"
        "sys.stdout.buffer.write(b'no line end \\xff')\n"
        "print('bad', file=sys.stderr)\n"
    )
    _, stdout, stderr = run(context, code, X="given", PYTHONIOENCODING="utf-8")
    assert stdout == "Größe ✓ given\nno line end ".encode() + b"\xff"
    assert stderr == b"bad\n"
    shown = capsys.readouterr()
    assert "Größe ✓ given\nno line end \ufffd" in shown.out
    assert "bad\n" in shown.err


def test_big_output_is_kept(context: OpExecutionContext) -> None:
    lines = "import sys; [print('x' * 99) for _ in range(30_000)]"
    code = f"{lines}; sys.stderr.write('y' * 2_500_000)"
    _, stdout, stderr = run(context, code)
    assert (len(stdout), len(stderr)) == (3_000_000, 2_500_000)


def test_stdin_is_empty(context: OpExecutionContext) -> None:
    _, stdout, _ = run(context, "import sys; print(repr(sys.stdin.read()))")
    assert stdout == b"''\n"


class Brittle(io.StringIO):
    """A stream that somebody has closed."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        pytest.param(io.TextIOWrapper(io.BytesIO(), "ascii"), b"? a\n", id="ASCII"),
        pytest.param(io.TextIOWrapper(io.BytesIO(), "latin-1"), b"? a\n", id="Latin 1"),
        pytest.param(Brittle(), None, id="broken"),
    ],
)
def test_pipe_is_emptied_whatever_the_stream_takes(
    stream: io.TextIOWrapper | io.StringIO, shown: bytes | None, tmp_path: Path
) -> None:
    content = "✓ a\n".encode() * 2
    runtime.copy_lines(io.BytesIO(content), stream, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content
    if shown is not None:
        assert stream.buffer.getvalue() == shown * 2  # type: ignore[union-attr]


def test_very_long_line_is_passed_on_in_parts(tmp_path: Path) -> None:
    content = b"x" * (2 * runtime.LONGEST_LINE + 5)
    stream = io.StringIO()
    runtime.copy_lines(io.BytesIO(content), stream, tmp_path / "out")
    assert stream.getvalue().encode() == (tmp_path / "out").read_bytes() == content


def test_process_that_leaves_another_is_not_waited_for(
    context: OpExecutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "SECONDS_TO_STOP", 0.2)
    sleeper = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys\n"
        f"print(subprocess.Popen([sys.executable, '-c', {sleeper!r}]).pid, flush=True)\n"
    )
    started = time.monotonic()
    process, stdout, _ = run(context, code)
    assert process.returncode == 0
    assert time.monotonic() - started < 20
    os.kill(int(stdout), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# In a process of its own, as an interruption may come at any time.
SUPERVISOR = """
import sys
from dagster import build_op_context
from metaflow_dagster import runtime
runtime.SECONDS_TO_STOP = 0.5
with runtime.captured_process(build_op_context(), [sys.executable, "-c", sys.argv[1]], {}):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("stubborn", [False, True], ids=["obeys SIGTERM", "ignores SIGTERM"])
def test_interruption_ends_the_whole_process_group(stubborn: bool, tmp_path: Path) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    file = tmp_path / "pids"
    code = (
        f"{ignore}"
        "import os, pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(file)!r} + '_').write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(file)!r} + '_', {str(file)!r})\n"
        "time.sleep(60)\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, code])
    try:
        assert comes_true(file.exists)
        time.sleep(0.2)
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(30)
    finally:
        supervisor.kill()
    pids = list(map(int, file.read_text().split()))
    assert comes_true(lambda: not any(map(is_alive, pids)))


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_group_of_a_process_that_has_ended_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    runtime.stop_process_group(process)  # type: ignore[arg-type]


def captured(tmp_path: Path, returncode: int, stderr: bytes) -> CapturedProcess:
    (tmp_path / "stderr").write_bytes(stderr)
    return CapturedProcess(returncode, tmp_path / "stdout", tmp_path / "stderr")


@pytest.mark.parametrize(
    ("returncode", "may_retry", "allowed"),
    [
        pytest.param(1, True, True, id="retries left"),
        pytest.param(1, False, False, id="no retries left"),
        pytest.param(202, True, False, id="Metaflow forbids it"),
    ],
)
def test_step_failure(tmp_path: Path, returncode: int, may_retry: bool, allowed: bool) -> None:
    process = captured(tmp_path, returncode, b"first\nlast\n")
    failure = runtime.step_failure("Step a failed", process, may_retry)
    assert failure.description == f"Step a failed with exit code {returncode}.\nfirst\nlast"
    assert failure.allow_retries is allowed


def test_digest_is_the_end(tmp_path: Path) -> None:
    stderr = b"".join(b"%d\n" % i for i in range(100_000)) + b"\xff end"
    lines = captured(tmp_path, 1, stderr).digest().splitlines()
    assert len(lines) == runtime.DIGEST_LINES
    assert lines[-1] == "\ufffd end"
    assert captured(tmp_path, 1, b"").digest() == ""


def test_exit_code_is_that_of_metaflow() -> None:
    from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY

    assert runtime.EXIT_DISALLOW_RETRY == METAFLOW_EXIT_DISALLOW_RETRY


def test_run_id_depends_on_the_dagster_run_alone() -> None:
    one, other = runtime.metaflow_run_id("a"), runtime.metaflow_run_id("b")
    assert one == runtime.metaflow_run_id("a") == "dagster-86f7e437faa5"
    assert one != other


def test_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RUN_TAGS", ["a b", "c"])
    monkeypatch.setattr(runtime, "METAFLOW_TOP_ARGS", ["--quiet"])
    assert runtime.tag_options() == ["--tag=a b", "--tag=c"]
    command = runtime.metaflow_command(["--with=x"], ["init"])
    assert command == [sys.executable, runtime.FLOW_FILE, "--quiet", "--with=x", "init"]


@given(st.dictionaries(st.text("ab"), st.text() | st.integers() | st.none()))
def test_json_parameters_survive_their_text(value: dict[str, Any]) -> None:
    assert json.loads(runtime.parameter_text(value)) == value


def test_stopping_ends_what_the_process_has_started_and_is_deaf() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    leader = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}]);"
        "time.sleep(1); print(child.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    runtime.stop_process_group(process)
    assert process.returncode == -signal.SIGTERM
    assert ended(child)


def ended(process: int) -> bool:
    """Whether a process is gone within a second, or waits only to be reaped."""
    for _ in range(20):
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_settings_are_adopted_before_metaflow_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "METAFLOW_STEP_ENV", {"METAFLOW_UI_URL": "http://baked"})
    monkeypatch.setenv("METAFLOW_UI_URL", "http://inherited")
    runtime.adopt_settings()
    assert os.environ["METAFLOW_UI_URL"] == "http://inherited"
    monkeypatch.delitem(sys.modules, "metaflow")
    runtime.adopt_settings()
    assert os.environ["METAFLOW_UI_URL"] == "http://baked"


@pytest.mark.parametrize(
    ("top_args", "settings", "provider"),
    [
        pytest.param(["--metadata=local"], {runtime.SYSROOT: "/store"}, "local@/store", id="local"),
        pytest.param(
            ["--metadata=service"],
            {"METAFLOW_SERVICE_URL": "http://service"},
            "service@http://service",
            id="service",
        ),
        pytest.param(["--metadata=service"], {}, None, id="service with a password in its address"),
        pytest.param(["--metadata=other"], {"METAFLOW_SERVICE_URL": "http://s"}, None, id="other"),
    ],
)
def test_metadata_provider(
    top_args: list[str],
    settings: dict[str, str],
    provider: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METAFLOW_SERVICE_URL", "http://me:secret@service")
    monkeypatch.setattr(runtime, "METAFLOW_TOP_ARGS", top_args)
    monkeypatch.setattr(runtime, "METAFLOW_STEP_ENV", settings)
    assert runtime.metadata_provider() == provider
