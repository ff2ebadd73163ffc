"""Runs launched by the commands, on a Dagster on this machine and on one behind a webserver."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dagster import DagsterInstance, Failure, InitResourceContext, job, op, resource
from dagster._core.errors import DagsterResourceFunctionError

from metaflow_dagster.operate.embedded import EmbeddedTarget
from metaflow_dagster.operate.errors import RunNotStarted
from metaflow_dagster.operate.progress import Progress
from metaflow_dagster.operate.runs import JobChoice, Launch
from metaflow_dagster.operate.server import ServerTarget
from metaflow_dagster.runtime.tasks import metaflow_run_id
from tests.operated import (
    Place,
    Server,
    is_alive,
    new_place,
    running_server,
    step_process,
    until,
)
from tests.support import use_client

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    result = new_place(tmp_path_factory.mktemp("operate"))
    assert result.dagster("create").returncode == 0
    yield result
    result.end_all_runs()


@pytest.fixture(scope="module")
def failed(place: Place) -> str:
    """A run one of whose steps has failed."""
    (place.directory / "broken").touch()
    result = place.dagster("trigger", "--city=Broken", "--my-count=1", "--wait")
    assert result.returncode == 1
    assert "work: 0 of 1 done, 1 failed" in result.stdout
    assert "ValueError: no luck" in result.stderr
    (run_id,) = re.findall(r"^(dagster-\w+) has failed\.$", result.stderr, re.MULTILINE)
    assert f"`dagster resume --run-id {run_id}`" in result.stderr
    told = place.dagster("status", run_id)
    assert (told.stdout, "ValueError: no luck" in told.stderr) == ("Failed\n", True)
    return str(run_id)


def test_run_that_is_waited_for(place: Place) -> None:
    from metaflow import Run

    files = ["--run-id-file=id", "--deployer-attribute-file=attributes"]
    typed = ["--city=Ulm", "--my-count=2", "--price=2", "--options", '{"a": [1]}']
    pairs = ["--run-param=open=False", "--run-param=wait=yes"]
    arguments = [*typed, *pairs, "--notes=notes.txt"]
    result = place.dagster("trigger", "--wait", *files, *arguments)
    assert result.returncode == 0, result.stderr
    run_id = (place.directory / "id").read_text()
    assert {"start: done", "work: 2 of 2 done", "join: done", "end: done"} <= set(
        result.stdout.splitlines()
    )
    assert result.stdout.endswith(f"{run_id} has succeeded.\n")

    recorded = place.recorded(run_id)
    assert run_id == metaflow_run_id(recorded.run_id)
    config = recorded.run_config["ops"]["op_start"]["config"]
    assert config.pop("notes").startswith('{"type": "uploader')
    given = {"city": "Ulm", "my-count": 2, "price": 2.0, "open": False, "options": {"a": [1]}}
    assert config == {**given, "wait": "yes"}

    use_client(place.directory)
    run = Run(f"OperatedFlow/{run_id}")
    assert run.successful
    end = run["end"].task
    assert (end["notes"].data, end["waiting"].data, end["is_open"].data) == (
        "some notes",
        "yes",
        False,
    )
    assert json.loads((place.directory / "attributes").read_text()) == {
        "name": "OperatedFlow",
        "metadata": f"local@{place.directory}",
        "pathspec": f"OperatedFlow/{run_id}",
        "dagster_run_id": recorded.run_id,
        "dagster_url": None,
    }


def test_file_that_cannot_be_written(place: Place) -> None:
    arguments = ["--city=Slow", "--my-count=1", "--run-id-file=/nowhere/id"]
    result = place.dagster("trigger", *arguments)
    assert_refused(result, "/nowhere/id cannot be written: No such file or directory. The run is ")
    (run_id,) = re.findall(r"The run is (dagster-\w+);", result.stderr)
    assert place.dagster("terminate", run_id).returncode == 0


def test_run_goes_on_without_the_command(place: Place) -> None:
    run_id = place.trigger("--city=Patient", "--my-count=1")
    running = place.dagster("list-runs", "--running").stdout
    assert running.startswith(f"{run_id} OperatedFlow startedAt:'")
    assert running.endswith(" Running\n")
    (place.directory / "go").touch()
    assert place.ended(run_id) == "SUCCESS"
    assert run_id in place.dagster("list-runs", "--succeeded").stdout
    assert run_id not in place.dagster("list-runs", "--failed").stdout
    worker = place.home / "launched" / f"{place.recorded(run_id).run_id}.lock"
    until(lambda: not worker.exists())
    twice = place.dagster("terminate", run_id)
    assert "has ended already (Succeeded)" in twice.stderr


def test_terminate(place: Place) -> None:
    run_id = place.trigger("--city=Slow", "--my-count=1")
    pid = step_process(place, run_id)
    result = place.dagster("terminate", f"OperatedFlow/{run_id}")
    assert (result.returncode, result.stdout) == (0, f"{run_id} is terminated.\n")
    assert place.recorded(run_id).status.value == "CANCELED"
    assert not is_alive(pid)
    assert place.dagster("status", run_id).stdout == "Failed\n"


def test_run_whose_process_is_killed_has_failed(place: Place) -> None:
    run_id = place.trigger("--city=Slow", "--my-count=1")
    pid = step_process(place, run_id)
    worker = place.worker(run_id)
    try:
        os.kill(worker, signal.SIGKILL)
        until(lambda: not is_alive(worker))
        assert place.dagster("status", run_id).stdout == "Failed\n"
        assert place.recorded(run_id).status.value == "FAILURE"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker, signal.SIGKILL)  # processes of its ops
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_resume(failed: str, place: Place) -> None:
    (place.directory / "broken").unlink(missing_ok=True)
    run_id = place.started("resume", f"--run-id={failed}", "--wait")
    recorded = place.recorded(run_id)
    assert recorded.tags["metaflow/origin_run_id"] == failed
    assert "metaflow/resume_step" not in recorded.tags
    assert recorded.run_config == place.recorded(failed).run_config
    assert recorded.job_name == "OperatedFlow"


def test_resume_from_a_step_of_a_run_that_this_dagster_does_not_know(
    failed: str, place: Place, tmp_path: Path
) -> None:
    elsewhere = Place(place.directory, tmp_path)
    run_id = elsewhere.started("resume", f"--run-id={failed}", "--step=start")
    recorded = elsewhere.recorded(run_id)
    assert recorded.tags["metaflow/origin_run_id"] == failed
    assert recorded.tags["metaflow/resume_step"] == "start"
    assert recorded.run_config["ops"]["op_start"]["config"] == {
        "city": "Broken",
        "my-count": 1,
        "price": 1.5,
        "open": True,
        "options": {},
        "wait": "no",
    }
    assert elsewhere.ended(run_id) == "SUCCESS"


def test_run_that_has_succeeded_is_not_resumed(place: Place) -> None:
    succeeded = place.dagster("list-runs", "--succeeded").stdout.split()[0]
    nothing = place.dagster("resume", "--run-id", succeeded)
    assert_refused(nothing, "there is nothing to resume")


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    """The command failed, in Metaflow's style."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_what_cannot_be_triggered(place: Place) -> None:
    missing = place.dagster("trigger", "--city=Ulm", "--name=other")
    assert_refused(missing, "other_dagster.py. Compile the flow with")
    compiled = (place.directory / "operatedflow_dagster.py").read_text()
    stale = place.directory / "stale_dagster.py"
    stale.write_text(compiled.replace("    city: str", "    town: str"))
    refused = place.dagster("trigger", "--city=Ulm", f"--definitions-file={stale}")
    assert_refused(refused, 'unexpected config entry "city"')


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    with running_server(place, "operatedflow_dagster.py") as found:
        yield found


def test_run_on_a_server(server: Server, place: Place) -> None:
    result = place.dagster("trigger", "--url", server.url, "--city=Ulm", "--my-count=1", "--wait")
    assert result.returncode == 0, result.stdout + result.stderr
    assert {"work: 1 of 1 done", "end: done"} <= set(result.stdout.splitlines())
    assert f"{server.url}/runs/" in result.stdout
    run_id = result.stdout.split()[-3]
    assert place.dagster("status", run_id, "--url", server.url).stdout == "Succeeded\n"
    assert run_id in place.dagster("list-runs", "--url", server.url, "--succeeded").stdout
    again = place.dagster("terminate", run_id, "--url", server.url)
    assert_refused(again, "has ended already")


@op
def refused() -> None:
    try:
        raise OSError(24, "Too many open files")
    except OSError as error:
        raise RuntimeError("no process for the step") from error


@op
def explained() -> None:
    raise Failure("said by the op") from ValueError("not shown")


@resource
def missing(_context: InitResourceContext) -> None:
    raise OSError(2, "No such file or directory")


@op(required_resource_keys={"missing"})
def in_need() -> None:
    pass


@job
def job_of_failing_ops() -> None:
    refused()
    explained()


@job(resource_defs={"missing": missing})
def job_that_cannot_begin() -> None:
    in_need()


def test_failures_are_told_with_what_has_caused_them(server: Server, place: Place) -> None:
    failures = []
    with (
        DagsterInstance.from_config(str(place.home)) as instance,
        EmbeddedTarget.open(place.home) as embedded,
    ):
        for failing in (job_of_failing_ops, job_that_cannot_begin):
            with suppress(DagsterResourceFunctionError):  # which is raised nevertheless
                failing.execute_in_process(instance=instance, raise_on_error=False)
            (run,) = instance.get_runs(limit=1)
            events, _cursor = embedded.events(run.run_id, None)
            assert ServerTarget(server.url).events(run.run_id, None)[0] == list(events)
            told = Progress({})
            told.add(events)
            failures.append(told.failures)
    of_ops, of_run = failures
    said = (
        "RuntimeError: no process for the step\ncaused by OSError: [Errno 24] Too many open files"
    )
    assert (of_ops["refused"], of_ops["explained"]) == (said, "said by the op")
    assert of_run[""].endswith("\nFileNotFoundError: [Errno 2] No such file or directory")


def test_terminate_on_a_server(server: Server, place: Place) -> None:
    run_id = place.trigger("--url", server.url, "--city=Slow", "--my-count=1")
    pid = step_process(place, run_id)
    assert place.dagster("status", run_id, "--url", server.url).stdout == "Running\n"
    result = place.dagster("terminate", run_id, "--url", server.url)
    assert (result.returncode, result.stdout) == (0, f"{run_id} is terminated.\n")
    assert not is_alive(pid)


def test_resume_on_a_server(failed: str, server: Server, place: Place) -> None:
    (place.directory / "broken").unlink(missing_ok=True)
    assert "ValueError: no luck" in place.dagster("status", failed, "--url", server.url).stderr
    options = ["--step=work", "--url", server.url]
    run_id = place.started("resume", f"--run-id={failed}", *options, "--wait")
    recorded = place.recorded(run_id)
    assert recorded.tags["metaflow/origin_run_id"] == failed
    assert recorded.tags["metaflow/resume_step"] == "work"
    assert recorded.run_config == place.recorded(failed).run_config


@pytest.mark.parametrize(
    ("flow", "job_name", "location", "message"),
    [
        ("OperatedFlow", "nope", None, "has no job nope of the flow OperatedFlow. Of this flow"),
        ("OperatedFlow", None, "nope", "no job of the flow OperatedFlow in the location nope"),
        ("OtherFlow", None, None, "has no job of the flow OtherFlow. Compile the flow with"),
        ("OperatedFlow", None, None, 'Missing required config entry "ops"'),
    ],
)
def test_what_a_server_cannot_launch(
    flow: str, job_name: str | None, location: str | None, message: str, server: Server
) -> None:
    job = JobChoice(job_name, Path("not needed"), location)
    with pytest.raises(RunNotStarted) as caught:
        ServerTarget(server.url).launch(Launch(flow, job, {}))
    assert message in str(caught.value)


REEXECUTE = """
mutation Again($run: String!) {
  launchRunReexecution(
    reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}
  ) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


def test_user_interface_executes_an_embedded_run_again(
    failed: str, server: Server, place: Place
) -> None:
    (place.directory / "broken").unlink(missing_ok=True)
    answer = server.ask(REEXECUTE, run=place.recorded(failed).run_id)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    query = "query Q($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"

    def ended() -> str | None:
        status = server.ask(query, run=answer["run"]["runId"])["runOrError"]["status"]
        return str(status) if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert until(ended) == "SUCCESS"


def test_user_interface_terminates_an_embedded_run(server: Server, place: Place) -> None:
    run_id = place.trigger("--city=Slow", "--my-count=1")
    pid = step_process(place, run_id)
    answer = server.ask(
        "mutation End($run: String!) { terminateRun(runId: $run) { __typename } }",
        run=place.recorded(run_id).run_id,
    )
    assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert place.ended(run_id) == "CANCELED"
    assert not is_alive(pid)
