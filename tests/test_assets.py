"""Artifacts that are assets, and checks of them, in runs of a real Dagster."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun

from tests.operated import Place, place_of, running_server, until
from tests.support import checked, use_client

pytestmark = pytest.mark.slow

FLOW = """
from metaflow import FlowSpec, Parameter, card, step

class ModelFlow(FlowSpec):
    '''Trains a model.'''
    rows = Parameter("rows", default=120)

    @step
    def start(self):
        self.loaded = self.rows
        self.parts = ["a", "b", "c"]
        self.next(self.score, foreach="parts")

    @step
    def score(self):
        self.points = len(self.input)
        self.next(self.train)

    @card
    @step
    def train(self, inputs):
        self.merge_artifacts(inputs, include=["loaded"])
        self.accuracy = 0.85
        self.unit = "EUR"
        self.nothing = None
        self.model = Model()
        self.next(self.end)

    @step
    def end(self):
        pass

class Model:
    '''What only the flow's own process can load.'''

if __name__ == "__main__":
    ModelFlow()
"""
FUNCTIONS = """
def is_calibrated(pathspec):
    '''The model is calibrated.'''
    from metaflow import Task, namespace
    namespace(None)
    return Task(pathspec)["accuracy"].data < 0.9, {"looked at": pathspec}

def breaks(pathspec):
    raise KeyError("no such thing")
"""
OPTIONS = (
    "--asset=train.model=ml/model",
    "--asset=train.accuracy",
    "--asset=score.points",
    "--asset=train.forgotten",
    "--check-artifact=train.accuracy >= 0.8",
    "--check-artifact=train.accuracy >= 0.9; warn",
    "--check-artifact=start.loaded > 0; blocking",
    "--check-artifact=train.forgotten is None",
    "--check-artifact=train.nothing is None",
    "--check-artifact=train.unit == 'EUR'",
    "--check-artifact=train.unit > 3",
    "--check-artifact=train.model is not None",
    "--check-artifact=train.model > 1",
    "--check-function=train=my_checks:is_calibrated",
    "--check-function=train=my_checks:breaks;warn",
    "--owner=team:models",
    "--upstream=warehouse/orders",
)
VERDICTS = {
    "start_loaded_gt": (True, "loaded is 120"),
    "train_accuracy_ge": (True, "accuracy is 0.85"),
    "train_accuracy_ge_2": (False, "accuracy is 0.85"),
    "train_forgotten_is_none": (False, "there is no artifact forgotten"),
    "train_nothing_is_none": (True, "nothing is None"),
    "train_unit_eq": (True, "unit is 'EUR'"),
    "train_unit_gt": (False, "'>' not supported between instances of 'str' and 'int'"),
    "train_model_is_not_none": (True, "model is of type __main__.Model, which is no number, text"),
    "train_model_gt": (False, "model is of type __main__.Model, which is no number, text"),
    "train_is_calibrated": (True, "is_calibrated returned True"),
    "train_breaks": (False, "KeyError: 'no such thing'"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("assets")
    place = place_of(directory, "model_flow.py", FLOW)
    (directory / "my_checks.py").write_text(FUNCTIONS)
    created = place.dagster("create", *OPTIONS)
    assert created.returncode == 0, created.stderr
    yield place
    place.end_all_runs()


def events(place: Place, run: DagsterRun, kind: str) -> list[Any]:
    """The events of a kind in a run of Dagster's, in order."""
    with DagsterInstance.from_config(str(place.home)) as instance:
        logs = instance.all_logs(run.run_id)
    found = (entry.dagster_event for entry in logs)
    return [
        event.event_specific_data for event in found if event and event.event_type_value == kind
    ]


@pytest.fixture(scope="module")
def run(place: Place) -> DagsterRun:
    recorded: DagsterRun = place.recorded(place.trigger("--wait"))
    return recorded


def test_artifacts_are_materialized(place: Place, run: DagsterRun) -> None:
    found = {
        data.materialization.asset_key.to_user_string(): data.materialization.metadata
        for data in events(place, run, "ASSET_MATERIALIZATION")
    }
    run_id = run.tags["metaflow/run_id"]
    assert [*found] == [
        "ml/model",
        "ModelFlow/train/accuracy",
        "ModelFlow/score/points",
        "metaflow.ModelFlow.end",
    ]
    train = f"ModelFlow/{run_id}/train/train"
    accuracy, model, points = (
        {name: value.value for name, value in found[key].items()}
        for key in ("ModelFlow/train/accuracy", "ml/model", "ModelFlow/score/points")
    )
    assert (accuracy["type"], accuracy["value"], accuracy["pathspec"]) == ("float", 0.85, train)
    assert (model["type"], model["pathspec"]) == ("__main__.Model", train)
    assert "value" not in model
    assert (points["items"], points["pathspec"]) == (3, f"ModelFlow/{run_id}/score")
    use_client(place.directory)
    assert retrieved(accuracy["retrieve"]) == "0.85"
    assert retrieved(points["retrieve"]) == "[1, 1, 1]"


def retrieved(shown: str) -> str:
    """What the code that Dagster shows evaluates to, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*)\n```", shown, re.DOTALL)
    *lines, last = code.splitlines()
    program = "\n".join([*lines, f"print({last})"])
    return checked([sys.executable, "-c", program], Path.cwd()).strip()


def test_an_artifact_that_is_not_there_is_told(place: Place, run: DagsterRun) -> None:
    with DagsterInstance.from_config(str(place.home)) as instance:
        said = [entry.user_message for entry in instance.all_logs(run.run_id)]
    (warning,) = [text for text in said if "has left no artifact forgotten" in text]
    assert "it has accuracy, loaded, model" in warning


def test_verdicts(place: Place, run: DagsterRun) -> None:
    found = {data.check_name: data for data in events(place, run, "ASSET_CHECK_EVALUATION")}
    assert found.keys() == VERDICTS.keys()
    for name, (passed, said) in VERDICTS.items():
        assert found[name].passed is passed, name
        assert str(found[name].description).startswith(said)
    assert found["train_accuracy_ge"].asset_key == AssetKey(["ModelFlow", "train", "accuracy"])
    assert found["train_unit_eq"].asset_key == AssetKey(["metaflow.ModelFlow.end"])
    assert found["train_accuracy_ge_2"].severity.value == "WARN"
    assert found["train_accuracy_ge"].metadata["accuracy"].value == 0.85
    assert "card default" in found["train_accuracy_ge"].metadata
    train = f"ModelFlow/{run.tags['metaflow/run_id']}/train/train"
    assert found["train_is_calibrated"].metadata["looked at"].value == train


CHECKS = """
query {
  assetNodeOrError(assetKey: {path: ["ModelFlow", "train", "accuracy"]}) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks { name blocking canExecuteIndividually executionForLatestMaterialization {
            status evaluation { severity } runId
          } }
        }
      }
    }
  }
}
"""
AGAIN = """
mutation ($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""


def test_checks_in_the_ui(place: Place, run: DagsterRun) -> None:
    """They are those of the latest run, and can be made again of it."""
    with running_server(place, "modelflow_dagster.py") as server:
        answer = server.ask(CHECKS)["assetNodeOrError"]["assetChecksOrError"]["checks"]
        latest = {check["name"]: check["executionForLatestMaterialization"] for check in answer}
        assert {name: check["status"] for name, check in latest.items()} == {
            "train_accuracy_ge": "SUCCEEDED",
            "train_accuracy_ge_2": "FAILED",
        }
        assert {check["runId"] for check in latest.values()} == {run.run_id}
        assert {check["canExecuteIndividually"] for check in answer} == {"CAN_EXECUTE"}
        again = server.ask(AGAIN, parameters=execution("train_accuracy_ge_2"))
        run_id = again["launchPipelineExecution"]["run"]["runId"]
        until(lambda: ended(place, run_id))
        (verdict,) = events(place, ended(place, run_id), "ASSET_CHECK_EVALUATION")
        assert (verdict.passed, verdict.description) == VERDICTS["train_accuracy_ge_2"]
        assert verdict.metadata["pathspec"].value.startswith(
            f"ModelFlow/{run.tags['metaflow/run_id']}/train/"
        )


def execution(check: str) -> dict[str, Any]:
    """The parameters by which Dagster's UI makes a check of the accuracy again."""
    asset = {"path": ["ModelFlow", "train", "accuracy"]}
    selector = {
        "pipelineName": "__ASSET_JOB",
        "repositoryName": "__repository__",
        "repositoryLocationName": "modelflow_dagster.py",
        "assetSelection": [],
        "assetCheckSelection": [{"assetKey": asset, "name": check}],
    }
    return {"selector": selector, "runConfigData": {}, "mode": "default"}


def ended(place: Place, dagster_run_id: str) -> Any:
    """A run of Dagster's, once it has ended."""
    with DagsterInstance.from_config(str(place.home)) as instance:
        run = instance.get_run_by_id(dagster_run_id)
    return run if run is not None and run.is_finished else None


def test_a_check_that_blocks(place: Place) -> None:
    """The run ends after the step, which has succeeded; what was not run is run by `resume`."""
    result = place.dagster("trigger", "--rows=0", "--wait")
    assert result.returncode == 1
    (run_id,) = re.findall(r"^(dagster-\w+) has failed\.$", result.stderr, re.MULTILINE)
    said = "The run does not go on after step start: start.loaded > 0 (loaded is 0)."
    assert said in result.stderr
    assert f"dagster resume --run-id {run_id} --step start" in result.stderr
    run = place.recorded(run_id)
    (verdict,) = events(place, run, "ASSET_CHECK_EVALUATION")
    assert (verdict.check_name, verdict.passed) == ("start_loaded_gt", False)
    from metaflow import Run

    use_client(place.directory)
    assert [step.id for step in Run(f"ModelFlow/{run_id}")] == ["start"]
