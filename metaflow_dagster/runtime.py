"""What a generated definitions file does at run time.

The compiler copies from here what a file needs: the functions its ops call, everything those
use, and the constants, whose values it replaces. So this module is what runs in production, and
it is imported, typed and tested like any other. It needs the standard library and Dagster;
Metaflow is imported where it is used, since importing it takes longer than loading a job.

Text that travels between ops is a task path, `run id/step/task id`, or a list of them.
"""

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from dagster import (
    Config,
    DynamicOutput,
    Failure,
    MetadataValue,
    OpExecutionContext,
    Output,
    TableColumn,
    TableRecord,
    TableSchema,
)

HERE = os.path.dirname(os.path.abspath(__file__))
FLOW_FILE = os.path.join(HERE, "flow.py")
FLOW_NAME = "Flow"
METAFLOW_TOP_ARGS: list[str] = []
METAFLOW_STEP_ENV: dict[str, str] = {}
FLOW_WITH_DECORATORS: list[str] = []
STEP_WITH_DECORATORS: dict[str, list[str]] = {}
FLOW_CONFIGS: dict[str, list[Any]] = {}  # by name: the value, and whether it is plain
RUN_TAGS: list[str] = []
NAMESPACE: str | None = None

SYSROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"  # names the directory that holds .metaflow
PARAMETERS_STEP = "_parameters"  # Metaflow's own task that holds the parameters of a run
EXIT_DISALLOW_RETRY = 202  # metaflow.exception.METAFLOW_EXIT_DISALLOW_RETRY
MANY_RETRIES = 10_000  # of a recursive step, whose repetitions count their retries each
CONTROL_OPTIONS = ["--ubf-context=ubf_control", "--split-index=0"]  # of a parallel step's task
RESULT_ARTIFACTS = ("_task_ok", "_foreach_num_splits", "_transition", "_control_mapper_tasks")
SECONDS_TO_STOP = 5.0
SECONDS_TO_DRAIN = 2.0
DIGEST_LINES = 20
DIGEST_BYTES = 20_000
LONGEST_LINE = 1_000_000  # bytes that are passed on in one go
LONGEST_ARGUMENT = 100_000  # Linux takes 128 KiB in one argument


@dataclass(frozen=True)
class Task:
    """A Metaflow task; `str` gives the path that travels between ops."""

    run_id: str
    step: str
    id: str

    def __str__(self) -> str:
        return f"{self.run_id}/{self.step}/{self.id}"


@dataclass(frozen=True)
class FinishedTask:
    """A task that succeeded, and what the job has to know of it.

    `num_splits` is the number of items of its foreach, `target` the step a switch has chosen,
    `nodes` are the paths of the tasks of a parallel step, `metadata` is what Dagster shows.
    """

    path: str
    num_splits: int
    target: str
    nodes: list[str]
    metadata: dict[str, Any]


def parse_task(path: str) -> Task:
    """The task of a path: `parse_task(str(task)) == task`."""
    run_id, step, task_id = path.split("/")
    return Task(run_id, step, task_id)


def given_parameters(config: Config) -> dict[str, Any]:
    """The flow's parameters by their own names, without those left to Metaflow's default."""
    fields = type(config).model_fields.items()
    values = {field.alias or name: getattr(config, name) for name, field in fields}
    return given_values(type(config), values)


def given_values(config_class: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by parameter, without those left to Metaflow's default."""
    fields = config_class.model_fields.items()
    left_to_metaflow = {field.alias or name for name, field in fields if field.default is None}
    return {
        name: value
        for name, value in values.items()
        if value is not None or name not in left_to_metaflow
    }


def start_run(context: OpExecutionContext, parameters: Mapping[str, Any]) -> str:
    """Create the Metaflow run of this Dagster run and return the path of its parameters' task."""
    adopt_settings()
    task = Task(metaflow_run_id(context.run_id), PARAMETERS_STEP, "params")
    context.instance.add_run_tags(context.run_id, {"metaflow/run_id": task.run_id})
    if may_be_repeated(context) and next_attempt(task):
        return str(task)
    options = [f"--run-id={task.run_id}", f"--task-id={task.id}", *tag_options()]
    # What is added to every step belongs to the description of the flow that `init` stores.
    decorators = [f"--with={spec}" for spec in FLOW_WITH_DECORATORS]
    command = metaflow_command(decorators, ["init", *options])
    environment = {parameter_variable(n): parameter_text(v) for n, v in parameters.items()}
    with captured_process(context, command, environment) as process:
        if process.returncode:
            raise step_failure("The run could not be initialised", process, may_retry=True)
    return str(task)


def run_step(
    context: OpExecutionContext,
    step: str,
    input_paths: Sequence[str],
    options: Sequence[str] = (),
    user_retries: int = 0,
    error_retries: int = 0,
    environment: Mapping[str, str] | None = None,
    repetition: int = 0,
) -> FinishedTask:
    """Run one task of a Metaflow step and wait for it; `dagster.Failure` if it fails.

    `input_paths` are the paths of the tasks before it, `options` more options of Metaflow's `step`,
    `user_retries` how often the user's code may be retried and `error_retries` how often Metaflow
    may handle its failure after that, `environment` variables for the process, `repetition` which
    run of a recursive step this is.
    """
    adopt_settings()
    task = task_of(context, step, input_paths, repetition)
    attempt = next_attempt(task) if may_be_repeated(context) else 0
    with input_options(input_paths) as inputs:
        arguments = [f"--run-id={task.run_id}", f"--task-id={task.id}", *inputs, *options]
        arguments += [f"--retry-count={attempt}", f"--max-user-code-retries={user_retries}"]
        arguments += [f"--namespace={NAMESPACE}"] if NAMESPACE is not None else []
        decorators = [f"--with={spec}" for spec in STEP_WITH_DECORATORS.get(step, [])]
        command = metaflow_command(decorators, ["step", step, *arguments, *tag_options()])
        variables = {"METAFLOW_RUN_ID": task.run_id, **(environment or {})}
        with captured_process(context, command, variables) as process:
            save_logs(task, attempt, process)
            if process.returncode:
                may_retry = attempt < user_retries + error_retries
                raise step_failure(f"Step {step} failed", process, may_retry)
    return finished_task(task, attempt, command)


def run_recursive_step(
    context: OpExecutionContext,
    step: str,
    input_paths: Sequence[str],
    options: Sequence[str] = (),
    **how: Any,
) -> FinishedTask:
    """Run a step that may choose itself, until it chooses another; `how` as for `run_step`.

    A retry goes on with the repetition that had been started last.
    """
    adopt_settings()
    repetition = last_started(context, step, input_paths)
    if repetition:
        input_paths, options = [str(task_of(context, step, input_paths, repetition - 1))], ()
    task = run_step(context, step, input_paths, options, repetition=repetition, **how)
    while task.target == step:
        repetition += 1
        context.log.info(f"Step {step} has chosen itself and runs again: repetition {repetition}.")
        task = run_step(context, step, [task.path], repetition=repetition, **how)
    task.metadata["repetitions"] = MetadataValue.int(repetition)
    return task


def last_started(context: OpExecutionContext, step: str, input_paths: Sequence[str]) -> int:
    """The last repetition of a recursive step that an earlier attempt of this op has started."""
    repetition = 0
    while may_be_repeated(context) and next_attempt(
        task_of(context, step, input_paths, repetition + 1)
    ):
        repetition += 1
    return repetition


def foreach_options(context: OpExecutionContext) -> list[str]:
    """What tells a task which item of the innermost foreach around it is its."""
    return [f"--split-index={(context.get_mapping_key() or '').split('_')[-1]}"]


def task_output(task: FinishedTask) -> Output[str]:
    """The only output of an op."""
    return Output(task.path, metadata=task.metadata)


def split_outputs(task: FinishedTask, *names: str) -> Iterator[Output[str]]:
    """An output for each branch of a split; what there is to show goes with the first."""
    for name in names:
        yield Output(task.path, name, metadata=task.metadata if name == names[0] else None)


def switch_output(task: FinishedTask, names: Mapping[str, str]) -> Iterator[Output[str]]:
    """The output of the branch that a switch has chosen, given the outputs by step."""
    yield Output(task.path, names[task.target], metadata=task.metadata)


def foreach_outputs(task: FinishedTask) -> Iterator[DynamicOutput[str]]:
    """An output for each item of a foreach; what there is to show goes with the first."""
    for index, path in enumerate(foreach_items(task)):
        metadata = task.metadata if index == 0 else None
        yield DynamicOutput(path, mapping_key=str(index), metadata=metadata)


def foreach_list(task: FinishedTask) -> Output[list[str]]:
    """The path of a task once for each item of its foreach, for another op to fan out."""
    return Output(foreach_items(task), metadata=task.metadata)


def foreach_items(task: FinishedTask) -> list[str]:
    """The path of a task once for each item of its foreach."""
    if not task.num_splits:
        raise Failure(
            f"The foreach of {task.path} has no number of items that is known beforehand "
            "(an unbounded foreach), which is not supported.",
            allow_retries=False,
        )
    return [task.path] * task.num_splits


def nodes_output(task: FinishedTask) -> Output[list[str]]:
    """The paths of the tasks of all nodes of a parallel step."""
    return Output(task.nodes, metadata=task.metadata)


def flat(paths: Sequence[Any]) -> list[str]:
    """The task paths in nested lists, in the order of their foreach indices."""
    if not paths or isinstance(paths[0], str):
        return sorted(paths, key=index_path)
    return flat([path for inner in paths for path in inner])


def fanned_out(paths: Sequence[Any]) -> Iterator[DynamicOutput[str]]:
    """An output for each item of foreaches, given each task once for each of its items."""
    items: dict[str, int] = {}
    for path in flat(paths):
        items[path] = items.get(path, -1) + 1
        key = "_".join(map(str, (*index_path(path), items[path])))
        yield DynamicOutput(path, mapping_key=key)


def regrouped(paths: Sequence[Any], depth: int) -> Iterator[DynamicOutput[list[str]]]:
    """An output for each of the outer `depth` foreach indices, with all the paths it has."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for path in flat(paths):
        groups.setdefault(index_path(path)[:depth], []).append(path)
    for indices, group in groups.items():
        yield DynamicOutput(group, mapping_key="_".join(map(str, indices)))


def index_path(path: str) -> tuple[int, ...]:
    """The foreach indices of a task, outermost first, as its id holds them."""
    indices = re.match(r"t1((?:-\d+)*)", parse_task(path).id)
    return tuple(int(index) for index in (indices[1] if indices else "").split("-")[1:])


def task_of(
    context: OpExecutionContext, step: str, input_paths: Sequence[str], repetition: int
) -> Task:
    """The task that an op runs after the tasks before it."""
    run_id = parse_task(input_paths[0]).run_id
    return Task(run_id, step, repeatable_id(context.get_mapping_key(), repetition))


def metaflow_run_id(dagster_run_id: str) -> str:
    """The id of the Metaflow run that belongs to a Dagster run."""
    return f"dagster-{hashlib.sha1(dagster_run_id.encode()).hexdigest()[:12]}"


def repeatable_id(mapping_key: str | None, repetition: int) -> str:
    """A task id that is the same in every attempt: `t1`, or `t1-0-2` in item 2 of item 0.

    Metaflow takes an integer for the id of a task it has registered already, so it is none.
    """
    indices = mapping_key.split("_") if mapping_key else []
    return "-".join(["t1", *indices, *([f"r{repetition}"] if repetition else [])])


def may_be_repeated(context: OpExecutionContext) -> bool:
    """Whether Metaflow's datastore may know an earlier attempt of this op's task."""
    return context.retry_number > 0 or context.run.parent_run_id is not None


def parameter_variable(name: str) -> str:
    """The environment variable in which `init` expects a parameter."""
    return "METAFLOW_INIT_" + name.replace("-", "_").lower().upper()


def parameter_text(value: object) -> str:
    """A parameter's value as one would write it on Metaflow's command line."""
    return value if isinstance(value, str) else json.dumps(value)


def tag_options() -> list[str]:
    """Tags belong on every command: whichever comes first registers the run."""
    return [f"--tag={tag}" for tag in RUN_TAGS]


def metaflow_command(top_options: Sequence[str], command: Sequence[str]) -> list[str]:
    """A command line of the flow."""
    return [sys.executable, FLOW_FILE, *METAFLOW_TOP_ARGS, *top_options, *command]


def adopt_settings() -> None:
    """Let Metaflow find in this process what it finds in those of the steps.

    It reads its settings when it is imported, and has them already where it was imported before.
    """
    if "metaflow" not in sys.modules:
        os.environ.update(METAFLOW_STEP_ENV)


@contextmanager
def input_options(paths: Sequence[str]) -> Iterator[list[str]]:
    """The option that names the input tasks, in a file where a command line cannot hold them."""
    from metaflow.util import compress_list

    text = compress_list(list(paths))
    if len(text) < LONGEST_ARGUMENT:
        yield [f"--input-paths={text}"]
        return
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write(text)
        file.flush()
        yield [f"--input-paths-filename={file.name}"]


def process_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Metaflow process."""
    from metaflow.util import get_username

    # A parallel step starts its nodes with the `python` it finds first.
    python = os.path.dirname(sys.executable)
    path = os.pathsep.join([python, os.environ.get("PATH", os.defpath)])
    local = {} if SYSROOT in {**os.environ, **METAFLOW_STEP_ENV} else local_store()
    environment = {**local, **os.environ, "PATH": path, **METAFLOW_STEP_ENV, **extra}
    environment["METAFLOW_RUNTIME_NAME"] = "dagster"
    environment["PYTHONUNBUFFERED"] = "x"
    if get_username() is None:
        # Without a user, as in most containers, Metaflow would refuse to run.
        environment.setdefault("METAFLOW_USER", "dagster")
    return environment


def config_environment(file: Path) -> dict[str, str]:
    """What gives the flow's Configs to a process, after writing their values to a file."""
    if not FLOW_CONFIGS:
        return {}
    file.write_text(json.dumps({"user_configs": FLOW_CONFIGS}), encoding="utf-8")
    names = {name: f"kv.{name}" for name in FLOW_CONFIGS}  # means: it stands in that file
    return {
        "METAFLOW_LOCAL_CONFIG_FILE": str(file),
        "METAFLOW_FLOW_CONFIG_VALUE": json.dumps(names),
    }


def local_store() -> dict[str, str]:
    """Where Metaflow keeps what is local, if the environment does not say.

    Metaflow looks for `.metaflow` from the working directory upwards. This looks from the directory
    of this file, so that it does not matter where Dagster was started.
    """
    from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL

    if DATASTORE_SYSROOT_LOCAL:
        return {SYSROOT: str(DATASTORE_SYSROOT_LOCAL)}
    directories = [Path(HERE), *Path(HERE).parents]
    sysroot = next((one for one in directories if (one / ".metaflow").is_dir()), Path(HERE))
    return {
        SYSROOT: str(sysroot),
        "METAFLOW_DATATOOLS_LOCALROOT": str(sysroot / ".metaflow" / "data"),
    }


@dataclass(frozen=True)
class CapturedProcess:
    """A process that has ended, with the files its two streams were written to."""

    returncode: int
    stdout: Path
    stderr: Path

    def ending(self) -> str:
        """How it ended, to follow "The step failed"."""
        if self.returncode < 0:
            names = {one.value: one.name for one in signal.Signals}
            name = names.get(-self.returncode, f"signal {-self.returncode}")
            return f": its process was ended by {name}."
        return f" with exit code {self.returncode}."

    def digest(self) -> str:
        """The last lines it wrote to stderr."""
        with open(self.stderr, "rb") as file:
            file.seek(max(0, self.stderr.stat().st_size - DIGEST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-DIGEST_LINES:])


@contextmanager
def captured_process(
    context: OpExecutionContext, command: Sequence[str], extra: Mapping[str, str]
) -> Iterator[CapturedProcess]:
    """Run a command to its end; its output goes to this process's as it comes, and to files."""
    context.log.info(f"$ {shlex.join(command)}")
    with tempfile.TemporaryDirectory(prefix="metaflow-dagster-") as directory:
        files = Path(directory, "stdout"), Path(directory, "stderr")
        process = subprocess.Popen(
            command,
            env=process_environment({**config_environment(Path(directory, "configs")), **extra}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        pipes = zip((process.stdout, process.stderr), (sys.stdout, sys.stderr), files, strict=True)
        copying = [threading.Thread(target=copy_lines, args=pipe, daemon=True) for pipe in pipes]
        try:
            for thread in copying:
                thread.start()
            process.wait()
        finally:
            stop_process_group(process)
        # All it has written is in the pipes; but what it has left running may hold them open.
        deadline = time.monotonic() + SECONDS_TO_DRAIN
        for thread in copying:
            thread.join(max(0, deadline - time.monotonic()))
        yield CapturedProcess(process.returncode, *files)


def copy_lines(pipe: IO[bytes], stream: TextIO, path: Path) -> None:
    """Copy what comes through a pipe to a file and to a text stream, line by line."""
    with open(path, "wb", buffering=0) as file:
        while line := pipe.readline(LONGEST_LINE):
            file.write(line)
            # Whatever the stream cannot take: nobody else reads the pipe, which must not fill up.
            with suppress(OSError, ValueError):
                encoding = stream.encoding or "utf-8"
                text = line.decode(errors="replace")
                stream.write(text.encode(encoding, errors="replace").decode(encoding))
                stream.flush()


def stop_process_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with everything it has started."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(SECONDS_TO_STOP)
    # What it has started may be deaf to the first signal, or be there after it has gone.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def step_failure(description: str, process: CapturedProcess, may_retry: bool) -> Failure:
    """What Dagster shows of a process that failed."""
    return Failure(
        f"{description}{process.ending()}\n{process.digest()}",
        metadata={"exit code": process.returncode},
        allow_retries=may_retry and process.returncode != EXIT_DISALLOW_RETRY,
    )


def datastore_root() -> tuple[Any, str]:
    """Metaflow's storage class for the datastore of this file, and its root."""
    from metaflow.plugins import DATASTORES

    options = dict(argument.split("=", 1) for argument in METAFLOW_TOP_ARGS if "=" in argument)
    storage = next(one for one in DATASTORES if options["--datastore"] == one.TYPE)
    if "--datastore-root" in options:
        return storage, options["--datastore-root"]
    return storage, os.path.join(process_environment({})[SYSROOT], ".metaflow")


def task_datastore(task: Task, attempt: int | None, mode: str) -> Any:
    """Metaflow's datastore of one attempt of a task (metaflow/datastore/task_datastore.py)."""
    from metaflow.datastore import FlowDataStore

    storage, root = datastore_root()
    flow_datastore = FlowDataStore(FLOW_NAME, None, storage_impl=storage, ds_root=root)
    return flow_datastore.get_task_datastore(
        task.run_id, task.step, task.id, attempt=attempt, mode=mode
    )


def next_attempt(task: Task) -> int:
    """The first attempt of the task that the datastore does not know."""
    from metaflow.metaflow_config import MAX_ATTEMPTS

    datastore = task_datastore(task, 0, "w")
    names = [f"{attempt}.attempt.json" for attempt in range(MAX_ATTEMPTS)]
    known = [datastore.has_metadata(name, add_attempt=False) for name in names]
    return known.index(False) if False in known else MAX_ATTEMPTS


def save_logs(task: Task, attempt: int, process: CapturedProcess) -> None:
    """Keep the output and the ending of a task as Metaflow's own runtime does."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE, mflog

    datastore = task_datastore(task, attempt, "w")
    if process.returncode:
        # A process that died early has not announced its attempt, and the next one counts them.
        datastore.init_task()
    ending = {"return_code": process.returncode, "killed": False, "success": not process.returncode}
    datastore.save_metadata({"runtime": ending})
    streams = {}
    for stream, path in (("stdout", process.stdout), ("stderr", process.stderr)):
        structured = path.with_suffix(".mflog")
        with open(path, "rb") as lines, open(structured, "wb") as file:
            file.writelines(mflog.decorate(RUNTIME_LOG_SOURCE, line) for line in lines)
        streams[stream] = structured
    datastore.save_logs(RUNTIME_LOG_SOURCE, streams)


def finished_task(task: Task, attempt: int, command: Sequence[str]) -> FinishedTask:
    """Read from the datastore what a task that succeeded has left there."""
    datastore = result_datastore(task, attempt)
    known = [name for name in RESULT_ARTIFACTS if name in datastore]
    left = dict(datastore.load_artifacts(known))
    if not left.get("_task_ok"):
        raise no_result(task)
    num_splits = left.get("_foreach_num_splits") or 0
    metadata: dict[str, Any] = {
        "pathspec": MetadataValue.text(f"{FLOW_NAME}/{task}"),
        "attempt": MetadataValue.int(attempt),
        "artifacts": artifact_table(datastore),
        "retrieve": MetadataValue.md(f"```python\n{retrieval_snippet(task, datastore)}\n```"),
        "command": MetadataValue.md(f"```sh\n{shlex.join(command)}\n```"),
    }
    if num_splits:
        metadata["foreach items"] = MetadataValue.int(num_splits)
    return FinishedTask(
        path=str(task),
        num_splits=num_splits,
        target=chosen_step(left.get("_transition")),
        nodes=left.get("_control_mapper_tasks") or [],
        metadata=metadata,
    )


def result_datastore(task: Task, attempt: int) -> Any:
    """The datastore of a task whose process has ended well."""
    from metaflow.datastore.exceptions import DataException

    try:
        return task_datastore(task, attempt, "r")
    except DataException as error:
        raise no_result(task) from error


def no_result(task: Task) -> Failure:
    """What Dagster shows of a process that ended well, but not by way of Metaflow."""
    return Failure(
        f"Step {task.step} has ended its process, with exit code 0, before Metaflow could finish "
        "the task. Let the step return instead of calling sys.exit or os._exit.",
        allow_retries=False,
    )


def chosen_step(transition: Any) -> str:
    """The first step of a transition, which Metaflow stores as `(["step"], None)`."""
    return str(transition[0][0]) if transition and transition[0] else ""


def public_artifacts(datastore: Any) -> list[str]:
    """The names of a task's artifacts that are the user's own, not Metaflow's."""
    names = sorted(datastore.ds_metadata["objects"])
    return [name for name in names if not name.startswith("_") and name != "name"]


def artifact_table(datastore: Any) -> Any:
    """Name, type and size of a task's artifacts, without loading them."""
    info = datastore.ds_metadata["info"]
    return MetadataValue.table(
        [
            TableRecord(
                {
                    "name": name,
                    "type": re.sub(r"<class '(?:builtins\.)?(.*)'>", r"\1", info[name]["type"]),
                    "bytes": info[name]["size"],
                }
            )
            for name in public_artifacts(datastore)
        ],
        TableSchema([TableColumn("name"), TableColumn("type"), TableColumn("bytes", type="int")]),
    )


def retrieval_snippet(task: Task, datastore: Any) -> str:
    """Code that reads the task's artifacts wherever it is pasted."""
    lines = ["from metaflow import Task, metadata, namespace", "", "namespace(None)"]
    if METAFLOW_STEP_ENV:
        lines = ["import os", "", f"os.environ.update({METAFLOW_STEP_ENV!r})", *lines]
    if provider := metadata_provider():
        lines.append(f"metadata({provider!r})")
    lines.append(f"task = Task({f'{FLOW_NAME}/{task}'!r})")
    lines += [f"task[{name!r}].data" for name in public_artifacts(datastore)]
    return "\n".join(lines)


def metadata_provider() -> str | None:
    """What Metaflow's `metadata` takes to find the runs; None for what its settings say."""
    if "--metadata=local" in METAFLOW_TOP_ARGS:
        return f"local@{process_environment({})[SYSROOT]}"
    # Not from the environment, where it is if there is a password in it.
    service = METAFLOW_STEP_ENV.get("METAFLOW_SERVICE_URL")
    return f"service@{service}" if service and "--metadata=service" in METAFLOW_TOP_ARGS else None
