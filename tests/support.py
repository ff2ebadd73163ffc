"""Runs flows by Metaflow and by Dagster, and compares what the runs have left behind."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from metaflow_dagster.emit import SHARED_MODULE, emit_shared_runtime
from tests.golden import FIXTURES, Case, compiled, fresh

IndexPath = tuple[int, ...]

# System tags that say when and by what a run was started.
NOT_COMPARED_TAGS = ("date:", "runtime:")

WITNESS = Path(__file__).parent / "witness"

# Metadata that says by what a task was run, and that of cards, which goes by random ids.
NOT_COMPARED_METADATA = re.compile(r"runtime|dagster-.*|[0-9a-f]{32}")


@dataclass(frozen=True)
class TaskSnapshot:
    """What one task has left behind."""

    artifacts: Mapping[str, Any]
    stdout: Sequence[str] = ()
    stderr: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSnapshot:
    """What one run has left behind; the tasks of a step by their indices in the foreaches."""

    tasks: Mapping[str, Mapping[IndexPath, TaskSnapshot]]
    successful: bool = True
    finished: bool = True
    user_tags: frozenset[str] = frozenset()
    system_tags: frozenset[str] = frozenset()
    shared_ids: frozenset[str] = frozenset()  # that several tasks have, of whatever step


@dataclass(frozen=True)
class DagsterRun:
    """What Dagster says of a run; statuses and what it shows of the outputs by step key."""

    succeeded: bool
    statuses: Mapping[str, str]
    failures: Sequence[str]
    errors: Sequence[str]
    commands: Sequence[str]
    metadata: Mapping[str, Mapping[str, Any]]
    metaflow_run_id: str
    dagster_run_id: str

    @property
    def snippets(self) -> Mapping[str, str]:
        """The code that retrieves artifacts, by step key."""
        return {
            key: shown["retrieve"].strip("`").removeprefix("python")
            for key, shown in self.metadata.items()
            if "retrieve" in shown
        }


class Workspace:
    """A copy of the fixtures, with a Metaflow datastore and a Dagster home of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.flows = directory / "flows"
        self.golden = directory / "golden"
        shutil.copytree(FIXTURES / "flows", self.flows)
        shutil.copytree(FIXTURES / "golden", self.golden)
        (self.golden / f"{SHARED_MODULE}.py").write_text(emit_shared_runtime(), encoding="utf-8")
        # Where it is decides where runs are stored: by Metaflow natively as well as from Dagster.
        (directory / ".metaflow").mkdir()

    def run_natively(self, case: Case, parameters: Mapping[str, Any]) -> str:
        """Run the flow by `python flow.py run` and return the id of the run."""
        id_file = self.root / f"{case}.run-id"
        arguments = [
            "run",
            f"--run-id-file={id_file}",
            *_run_options(case),
            *_arguments(parameters),
        ]
        checked([sys.executable, case.flow_file, "--quiet", *arguments], self.flows)
        return id_file.read_text()

    def run_in_process(self, case: Case, parameters: Mapping[str, Any]) -> DagsterRun:
        """Run the job by `execute_in_process`."""
        from dagster import DagsterInstance

        job = _job(load_module(self.golden / case.output))
        with working_directory(self.flows), DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                run_config=run_config(job, parameters), instance=instance, raise_on_error=False
            )
            return dagster_run(instance, result.run_id)

    def execute(self, case: Case) -> DagsterRun:
        """Run the job by `dagster job execute`, on an instance of its own."""
        from dagster import DagsterInstance

        home = self.root / "dagster" / str(case)
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        file = self.golden / case.output
        job = _job(load_module(file))
        config = home / "config.yaml"
        config.write_text(json.dumps(run_config(job, case.parameters)))
        options = ["-f", str(file), "-j", job.name, "-c", str(config)]
        command = [sys.executable, "-m", "dagster", "job", "execute", *options]
        checked(command, self.flows, DAGSTER_HOME=str(home), **witness(self.starts(case)))
        with DagsterInstance.from_config(str(home)) as instance:
            (record,) = instance.get_run_records()
            return dagster_run(instance, record.dagster_run.run_id)

    def execute_fresh(self, case: Case) -> DagsterRun:
        """Run the job by `dagster job execute`, no step being forked from a step server."""
        own = fresh(case)
        (self.golden / own.output).write_text(compiled(own), encoding="utf-8")
        return self.execute(own)

    def starts(self, case: Case) -> Path:
        """The file with the command lines of every Python that an executed run has started."""
        return self.root / f"{case}.starts"

    def cards(self, path: str) -> list[tuple[str, str | None]]:
        """Types and ids of the cards of a step's only task."""
        from metaflow import Step
        from metaflow.cards import get_cards

        use_client(self.root)
        return [(card.type, card.id) for card in get_cards(Step(path).task)]

    def snapshot(self, case: Case, run_id: str) -> RunSnapshot:
        """Read a run by Metaflow's client."""
        return snapshot(self.root, f"{case.class_name}/{run_id}")


def witness(file: Path) -> dict[str, str]:
    """The environment in which every Python that is started writes its command line to a file."""
    return {"PYTHONPATH": str(WITNESS), "WITNESS_FILE": str(file)}


def started_afresh(file: Path, flow_file: str) -> list[list[str]]:
    """The command lines of what runs and steps of a flow begin with, which had their own Python."""
    commands = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert commands, "no Python has written its command line"
    of_flow = [
        command for command in commands if flow_file in (Path(word).name for word in command[1:3])
    ]
    return [each for each in of_flow if "step" in each or "init" in each]


def path_with_this_python() -> str:
    """`PATH` with the tests' Python first: shells find it, and Metaflow's own scheduler, which
    starts the nodes of a parallel step with the `python` that comes first.
    """
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])


def checked(command: Sequence[str], directory: Path, **environment: str) -> str:
    """The standard output of a command; an `AssertionError` with all output if it fails."""
    result = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = f"{result.stdout[-5000:]}\n{result.stderr[-5000:]}"
    assert result.returncode == 0, f"{command} exited with {result.returncode}\n{output}"
    return result.stdout


# Prints the values of a snippet's expressions, by their source.
_EVALUATE = """
import ast, pickle, sys
names, values = {}, {}
for statement in ast.parse(sys.argv[1]).body:
    source = ast.unparse(statement)
    if isinstance(statement, ast.Expr) and "[" in source:
        values[source] = eval(source, names)
    else:
        exec(source, names)
sys.stdout.write(pickle.dumps(values).hex())
"""


def evaluated(snippet: str, directory: Path, **environment: str) -> dict[str, Any]:
    """What a fresh process makes of a snippet: the values of its expressions, by their source."""
    output = checked([sys.executable, "-c", _EVALUATE, snippet], directory, **environment)
    values: dict[str, Any] = pickle.loads(bytes.fromhex(output.splitlines()[-1]))
    return values


def load_module(path: Path) -> ModuleType:
    """Import a generated file from where it lies."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _job(module: ModuleType) -> Any:
    """The only job, as Dagster has it; that of an asset is made when it is asked for."""
    (job,) = module.defs.jobs
    return module.defs.get_repository_def().get_job(job.name)


def run_config(job: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The run configuration that gives the flow parameters, in the op of its first step."""
    (first,) = [node.name for node in job.nodes if not node.definition.input_defs]
    return {"ops": {first: {"config": dict(parameters)}}} if parameters else {}


def _run_options(case: Case) -> Iterator[str]:
    """The options of Metaflow's `run` that mean what the case's options mean."""
    for option in case.command_line_options():
        if option.startswith(("--tag=", "--with=", "--namespace=", "--max-workers=")):
            yield option


def _arguments(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Parameters as one gives them to Metaflow's `run`."""
    for name, value in parameters.items():
        yield f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


@contextmanager
def working_directory(directory: Path) -> Iterator[None]:
    """Be in another directory for a while."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def dagster_run(instance: Any, run_id: str) -> DagsterRun:
    """Read a run out of Dagster's event log."""
    run = instance.get_run_by_id(run_id)
    entries = instance.all_logs(run_id)
    messages = [entry.user_message for entry in entries if entry.user_message]
    return DagsterRun(
        succeeded=run.is_success,
        statuses={
            stats.step_key: stats.status.value for stats in instance.get_run_step_stats(run_id)
        },
        failures=[_failure(entry) for entry in entries if entry.level >= logging.ERROR],
        errors=list(_errors(entries)),
        commands=[message[2:] for message in messages if message.startswith("$ ")],
        metadata=dict(_metadata(entries)),
        metaflow_run_id=run.tags.get("metaflow/run_id", "none"),
        dagster_run_id=run_id,
    )


def _failure(entry: Any) -> str:
    """What an error in the event log says, with what a failed step has given as the reason."""
    event = entry.dagster_event
    if event is not None and event.is_step_failure:
        reason = event.step_failure_data.user_failure_data
        return f"{entry.message}\n{reason.description if reason else ''}"
    return str(entry.message)


def _errors(entries: Sequence[Any]) -> Iterator[str]:
    """What Dagster shows as the errors of steps, whether they are tried again or not."""
    for entry in entries:
        event = entry.dagster_event
        error = None
        if event is not None and event.is_step_failure:
            error = event.step_failure_data.error
        if event is not None and event.is_step_up_for_retry:
            error = event.step_retry_data.error.cause
        if error is not None:
            yield error.to_string()


def _metadata(entries: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The metadata of outputs, by step key; of several outputs only one has any."""
    for entry in entries:
        event = entry.dagster_event
        if event is not None and event.is_successful_output and event.step_output_data.metadata:
            metadata = event.step_output_data.metadata
            yield entry.step_key, {name: value.value for name, value in metadata.items()}


def use_client(root: Path) -> None:
    """Let Metaflow's client read the datastore in a directory."""
    from metaflow import metadata, namespace

    namespace(None)
    metadata(f"local@{root}")


def snapshot(root: Path, path: str, left_out: Collection[str] = ()) -> RunSnapshot:
    """Read a run from the datastore in a directory, without some artifacts."""
    use_client(root)
    return run_snapshot(path, left_out)


def run_snapshot(path: str, left_out: Collection[str] = ()) -> RunSnapshot:
    """Read a run from where Metaflow's client finds it, without some artifacts."""
    from metaflow import Run

    run = Run(path)
    ids = Counter(task.id for step in run for task in step)
    return RunSnapshot(
        tasks={step.id: dict(_task_snapshot(task, left_out) for task in step) for step in run},
        successful=run.successful,
        finished=run.finished,
        user_tags=frozenset(run.user_tags),
        system_tags=frozenset(
            tag for tag in run.system_tags if not tag.startswith(NOT_COMPARED_TAGS)
        ),
        shared_ids=frozenset(task_id for task_id, count in ids.items() if count > 1),
    )


def _task_snapshot(task: Any, left_out: Collection[str]) -> tuple[IndexPath, TaskSnapshot]:
    artifacts = {
        artifact.id: artifact.data
        for artifact in _all_artifacts(task)
        if artifact.id not in left_out
    }
    indices = tuple(frame.index for frame in artifacts.get("_foreach_stack") or ())
    assert task.index == (indices[-1] if indices else None)
    return indices, TaskSnapshot(
        artifacts,
        task.stdout.splitlines(),
        task.stderr.splitlines(),
        {
            name: value
            for name, value in task.metadata_dict.items()
            if not NOT_COMPARED_METADATA.fullmatch(name)
        },
    )


def _all_artifacts(task: Any) -> Sequence[Any]:
    """The artifacts of a task with Metaflow's own, which its client does not list."""
    from metaflow import Task

    class FullTask(Task):  # type: ignore[misc]
        def _iter_filter(self, _: object) -> bool:
            return True

    return list(FullTask(task.pathspec))


def differences(expected: RunSnapshot, actual: RunSnapshot) -> list[str]:
    """How the steps, tasks, artifacts and tags of two runs differ; empty if they do not."""
    return [
        *_different("steps", set(expected.tasks), set(actual.tasks)),
        *_different("user tags", expected.user_tags, actual.user_tags),
        *_different("system tags", expected.system_tags, actual.system_tags),
        *_different("ids of several tasks", expected.shared_ids, actual.shared_ids),
        *(
            line
            for step in sorted(set(expected.tasks) & set(actual.tasks))
            for line in _step_differences(step, expected.tasks[step], actual.tasks[step])
        ),
    ]


def log_differences(expected: RunSnapshot, actual: RunSnapshot) -> list[str]:
    """How the logs of the tasks that both runs have differ; empty if they do not."""
    return [
        line
        for step in sorted(set(expected.tasks) & set(actual.tasks))
        for indices in sorted(set(expected.tasks[step]) & set(actual.tasks[step]))
        for stream in ("stdout", "stderr")
        for line in _different(
            f"{stream} of {step}{list(indices)}",
            getattr(expected.tasks[step][indices], stream),
            getattr(actual.tasks[step][indices], stream),
        )
    ]


def metadata_differences(expected: RunSnapshot, actual: RunSnapshot) -> list[str]:
    """How Metaflow's metadata of the tasks that both runs have differ; empty if they do not."""
    return [
        line
        for step in sorted(set(expected.tasks) & set(actual.tasks))
        for indices in sorted(set(expected.tasks[step]) & set(actual.tasks[step]))
        for line in _different(
            f"metadata of {step}{list(indices)}",
            sorted(expected.tasks[step][indices].metadata.items()),
            sorted(actual.tasks[step][indices].metadata.items()),
        )
    ]


def _step_differences(
    step: str,
    expected: Mapping[IndexPath, TaskSnapshot],
    actual: Mapping[IndexPath, TaskSnapshot],
) -> Iterator[str]:
    yield from _different(f"tasks of {step}", set(expected), set(actual))
    for indices in sorted(set(expected) & set(actual)):
        task = f"{step}{list(indices)}"
        one, other = expected[indices].artifacts, actual[indices].artifacts
        yield from _different(f"artifacts of {task}", set(one), set(other))
        for name in sorted(set(one) & set(other)):
            yield from _different(f"{name} of {task}", one[name], other[name])


def _different(what: str, expected: object, actual: object) -> Iterator[str]:
    if typed(expected) != typed(actual):
        yield f"{what}: {expected!r} is not {actual!r}"


def typed(value: Any) -> Any:
    """The value in a form that is equal only if all types in it are, unlike `1 == True`."""
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return kind, [(typed(key), typed(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return kind, [typed(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(typed(each)) for each in value)
    if kind == "MetaflowExceptionWrapper":  # has no equality of its own
        return kind, str(value)
    if kind == "ndarray":  # compares element by element
        return kind, str(value.dtype), value.tolist()
    return kind, value
