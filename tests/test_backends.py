"""One flow on backends other than the local ones, run by Metaflow and by Dagster."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from tests.golden import FIXTURES
from tests.services.metadata_service import MetadataService
from tests.services.reader import Reading, read_elsewhere
from tests.services.s3 import S3
from tests.support import (
    DagsterRun,
    dagster_run,
    differences,
    evaluated,
    log_differences,
    metadata_differences,
    typed,
)

pytestmark = pytest.mark.slow

FLOW = FIXTURES / "backends" / "backends_flow.py"
OUTPUT = "backendsflow_dagster.py"
SECONDS_FOR_A_RUN = 150

# The start of every value that must not be found anywhere.
PLANTED = "planted-"
SERVICE_HEADERS = {"X-Api-Key": f"{PLANTED}service-key", "X-Team-Token": f"{PLANTED}team-token"}

# What the steps need, or happen to find, in the environment in which Dagster runs them.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": f"{PLANTED}access-key",
    "AWS_SECRET_ACCESS_KEY": f"{PLANTED}secret-key",
    "AWS_SESSION_TOKEN": f"{PLANTED}session-token",
    "METAFLOW_SERVICE_AUTH_KEY": SERVICE_HEADERS["X-Api-Key"],
    "METAFLOW_SERVICE_HEADERS": f'{{"X-Team-Token": "{SERVICE_HEADERS["X-Team-Token"]}"}}',
    "METAFLOW_ARGO_EVENTS_WEBHOOK_AUTH": f"{PLANTED}webhook",
    "DATABASE_URL": f"postgresql://me:{PLANTED}password@127.0.0.1/data",
    "GITHUB_TOKEN": f"{PLANTED}github-token",
    "SOME_PASSWORD": f"{PLANTED}some-password",
}
CREDENTIALS_TEXT = repr(CREDENTIALS).encode()


@dataclass(frozen=True)
class Backend:
    """Where runs are kept, and the option that says how Dagster executes the ops."""

    datastore: str
    metadata: str
    execution: str = "--executor=threads"

    def __str__(self) -> str:
        return f"{self.datastore}_and_{self.metadata}"


# Both of them together are what the tests of Celery, and that of re-execution below, have.
BACKENDS = [
    Backend("s3", "local"),
    Backend("local", "service", "--executor=multiprocess"),
]


@dataclass
class Project:
    """The flow in a directory of its own, with its runs on a backend."""

    directory: Path
    backend: Backend
    s3: S3
    service_url: str
    outputs: list[str] = field(default_factory=list)  # of all commands

    def __post_init__(self) -> None:
        (self.directory / ".metaflow").mkdir()
        shutil.copy(FLOW, self.directory)
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")

    @property
    def home(self) -> Path:
        """The home of Dagster."""
        return self.directory / "dagster"

    @property
    def settings(self) -> Mapping[str, str]:
        """Metaflow's configuration where one develops; Dagster gets it by the generated file."""
        service = {
            "METAFLOW_DEFAULT_METADATA": "service",
            "METAFLOW_SERVICE_URL": self.service_url,
        }
        return {
            **(self.s3.settings if self.backend.datastore == "s3" else {}),
            **(service if self.backend.metadata == "service" else {}),
        }

    def flow(self, *arguments: str, **environment: str) -> str:
        """Run a command of the flow where one develops."""
        command = [sys.executable, FLOW.name, *arguments]
        return self._output(command, {**CREDENTIALS, **self.settings, **environment})

    def dagster(self, *arguments: str, **environment: str) -> str:
        """Run a command of Dagster where no more is known than the credentials."""
        command = [sys.executable, "-m", "dagster", *arguments]
        return self._output(command, {**CREDENTIALS, **environment})

    def _output(self, command: list[str], environment: Mapping[str, str]) -> str:
        result = subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, "DAGSTER_HOME": str(self.home), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_FOR_A_RUN,
        )
        self.outputs.append(result.stdout)
        return result.stdout

    @cached_property
    def token(self) -> str:
        """The production token of the deployed job, which `dagster create` tells."""
        options = ["--tag=team:search", self.backend.execution]
        output = self.flow("dagster", "create", OUTPUT, *options)
        assert (self.directory / OUTPUT).exists(), output
        token = re.search(r"namespace\(\"production:(.+)\"\)", output)
        assert token is not None, output
        return token[1]

    @cached_property
    def generated(self) -> str:
        """The text of the generated file."""
        assert self.token
        return (self.directory / OUTPUT).read_text()

    @cached_property
    def native(self) -> Reading:
        """The run by `python flow.py run`."""
        id_file = self.directory / "run-id"
        options = [f"--run-id-file={id_file}", "--tag=team:search"]
        output = self.flow("run", *options, METAFLOW_PRODUCTION_TOKEN=self.token)
        assert id_file.exists(), output
        return self.read(id_file.read_text())

    @cached_property
    def run(self) -> DagsterRun:
        """The run by Dagster, as Dagster sees it."""
        return self.execute()

    @cached_property
    def read_run(self) -> Reading:
        """The run by Dagster, as Metaflow sees it."""
        assert self.run.succeeded, self.run.failures
        return self.read(self.run.metaflow_run_id)

    def execute(self, **environment: str) -> DagsterRun:
        """Run the job by `dagster job execute`."""
        assert self.generated
        self.dagster("job", "execute", "-f", OUTPUT, "-j", "BackendsFlow", **environment)
        return self.last_run()

    def reexecute(self, **environment: str) -> DagsterRun:
        """Execute the last run again from its failure, as the button in Dagster does."""
        self._output(
            [sys.executable, "-c", _REEXECUTE],
            {**CREDENTIALS, **environment},
        )
        return self.last_run()

    def last_run(self) -> DagsterRun:
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.home)) as instance:
            record = instance.get_run_records(limit=1)[0]
            return dagster_run(instance, record.dagster_run.run_id)

    def read(self, run_id: str) -> Reading:
        """Read a run where one develops."""
        local = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.directory)}
        return read_elsewhere(f"BackendsFlow/{run_id}", {**CREDENTIALS, **self.settings, **local})


_REEXECUTE = """
import sys
from dagster import DagsterInstance, ReexecutionOptions, execute_job, reconstructable
sys.path.insert(0, ".")
from backendsflow_dagster import BackendsFlow
with DagsterInstance.get() as instance:
    last = instance.get_run_records(limit=1)[0].dagster_run.run_id
    options = ReexecutionOptions.from_failure(last, instance)
    job = reconstructable(BackendsFlow)
    with execute_job(job, instance, reexecution_options=options):
        pass
"""


@pytest.fixture(scope="session")
def service() -> Iterator[MetadataService]:
    """A metadata service that answers only those who have the credentials."""
    service = MetadataService(SERVICE_HEADERS)
    with service.serving():
        yield service


MakeProject = Callable[[Backend], Project]


@pytest.fixture(scope="session")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, s3: S3, service: MetadataService
) -> MakeProject:
    return lambda backend: Project(tmp_path_factory.mktemp(str(backend)), backend, s3, service.url)


@pytest.fixture(scope="session", params=BACKENDS, ids=str)
def project(request: pytest.FixtureRequest, make_project: MakeProject) -> Project:
    """The flow on each backend; its runs are the same ones for all tests."""
    return make_project(request.param)


def test_leaves_the_same_tasks_artifacts_and_tags(project: Project) -> None:
    assert differences(project.native.snapshot, project.read_run.snapshot) == []
    assert project.read_run.snapshot.user_tags == {"team:search"}


def test_metaflow_sees_a_successful_run(project: Project) -> None:
    assert project.read_run.snapshot.successful is True
    assert project.read_run.snapshot.finished is True


def test_leaves_the_same_metadata(project: Project) -> None:
    assert metadata_differences(project.native.snapshot, project.read_run.snapshot) == []


def test_keeps_the_same_logs(project: Project) -> None:
    assert log_differences(project.native.snapshot, project.read_run.snapshot) == []


def test_retries_what_fails_and_keeps_the_log_of_both_attempts(project: Project) -> None:
    for reading in (project.native, project.read_run):
        (failed,) = reading.failed_attempts
        assert "ValueError: the first attempt fails" in failed
    assert _attempts(project.run, "work") == [0, 0, 0, 1]


def test_keeps_the_same_cards(project: Project) -> None:
    assert project.read_run.cards == project.native.cards
    assert project.read_run.cards["start"] == [("blank", "summary")]


def _attempts(run: DagsterRun, step: str) -> list[int]:
    """The numbers of all attempts of a step's tasks."""
    commands = [shlex.split(command) for command in run.commands if f" step {step} " in command]
    return sorted(
        int(part.removeprefix("--retry-count="))
        for command in commands
        for part in command
        if part.startswith("--retry-count=")
    )


def test_the_generated_file_knows_the_backend(project: Project) -> None:
    for value in project.settings.values():
        assert value in project.generated or value in ("s3", "service")
    for option in ("datastore", "metadata"):
        value = getattr(project.backend, option)
        assert (f'    {option}="{value}",' in project.generated) == (value != "local")


def test_no_credential_is_found_in_what_is_written(project: Project) -> None:
    assert project.run.succeeded, project.run.failures
    assert PLANTED not in project.generated
    assert [output for output in project.outputs if PLANTED in output] == []
    assert list(_files_with(PLANTED.encode(), project.home)) == []


def _files_with(text: bytes, directory: Path) -> Iterator[Path]:
    for file in directory.rglob("*"):
        if file.is_file() and (text in file.read_bytes() or text in _unpacked(file)):
            yield file


def _unpacked(file: Path) -> bytes:
    """What Dagster keeps compressed in a database."""
    if not file.read_bytes().startswith(b"SQLite"):
        return b""
    with closing(sqlite3.connect(file)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = [row for (table,) in tables for row in database.execute(f'SELECT * FROM "{table}"')]
    return b"".join(
        zlib.decompress(value) for row in rows for value in row if isinstance(value, bytes)
    )


def test_credentials_in_what_is_written_would_be_found(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "packed.db")) as database, database:
        database.execute("CREATE TABLE snapshots (body BLOB)")
        database.execute("INSERT INTO snapshots VALUES (?)", [zlib.compress(CREDENTIALS_TEXT)])
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "plain").write_bytes(CREDENTIALS_TEXT)
    found = {file.name for file in _files_with(PLANTED.encode(), tmp_path)}
    assert found == {"packed.db", "plain"}


def test_artifacts_are_retrieved_where_only_the_credentials_are_known(
    project: Project, tmp_path: Path
) -> None:
    assert project.run.succeeded, project.run.failures
    snippet = project.run.snippets["op_start"]
    values = evaluated(snippet, tmp_path, **CREDENTIALS)
    (start,) = project.native.snapshot.tasks["start"].values()
    assert set(values) == {f"task[{name!r}].data" for name in ("blob", "items", "numbers", "table")}
    for name in ("blob", "items", "numbers", "table"):
        assert typed(values[f"task[{name!r}].data"]) == typed(start.artifacts[name])


def test_the_service_hears_from_running_tasks(project: Project, service: MetadataService) -> None:
    run_id = project.run.metaflow_run_id
    steps = {beat[2] for beat in service.heartbeats if beat[1] == run_id and len(beat) == 4}
    heard = project.backend.metadata == "service"
    assert steps == ({"start", "work", "join", "choose", "many", "end"} if heard else set())


def test_reexecution_counts_its_attempts_from_those_in_s3(make_project: MakeProject) -> None:
    project = make_project(Backend("s3", "service"))
    broken = project.execute(BACKENDS_FLOW_BREAKS="work")
    assert any("work was told to break" in failure for failure in broken.failures)
    assert _attempts(broken, "work") == [0, 0, 0, 1, 1]
    # What the item that is executed again gets is only to be had from S3: nothing else is here.
    assert not (project.directory / ".metaflow" / "mf.dagster.outputs").exists()
    assert not (project.home / "storage" / broken.dagster_run_id / "op_start").exists()
    broken_later = project.reexecute(BACKENDS_FLOW_BREAKS="join")
    assert any("join was told to break" in failure for failure in broken_later.failures)
    assert _attempts(broken_later, "work") == [2]
    assert _attempts(broken_later, "join") == [0]
    fixed = project.reexecute()
    assert fixed.succeeded, fixed.failures
    assert _attempts(fixed, "work") == []
    assert _attempts(fixed, "join") == [1]
    snapshot = project.read(broken.metaflow_run_id).snapshot
    assert snapshot.successful is True
    assert {step: len(tasks) for step, tasks in snapshot.tasks.items()} == {
        "start": 1,
        "work": 3,
        "join": 1,
        "choose": 1,
        "many": 1,
        "end": 1,
    }
