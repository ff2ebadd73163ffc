"""The executor for Docker: ops have containers, which the stand-in of the daemon's API runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.elsewhere import IMAGE, NODE, SECRETS, Elsewhere, different_elsewhere
from tests.services.docker_api import DockerApi
from tests.services.metadata_service import MetadataService
from tests.services.s3 import S3
from tests.support import DagsterRun, log_differences

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Story:
    """A run by containers, and the daemon that had them."""

    place: Elsewhere
    run: DagsterRun
    api: DockerApi


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("docker")
    service = MetadataService()
    api = DockerApi(directory / "containers", directory / "image")
    with service.serving(), api.serving():
        known = {**NODE, **SECRETS["words"], "WITHOUT_KUBERNETES": "yes"}
        execution = {
            "image": IMAGE,
            "env_vars": [f"{name}={value}" for name, value in known.items()],
        }
        options = ("--executor=docker", "--max-workers=2", "--package", "--tag=team:search")
        clients = {**api.access, "WITHOUT_KUBERNETES": "yes"}
        place = Elsewhere(directory, s3, service, clients, options, execution)
        assert place.native.snapshot.successful
        with closing(place):
            yield Story(place, place.ended(place.start()), api)


def test_leaves_the_same_tasks_artifacts_and_logs(story: Story) -> None:
    assert story.run.succeeded, story.run.failures
    native = story.place.native.snapshot
    snapshot = story.place.read(story.run.metaflow_run_id).snapshot
    assert different_elsewhere(native, snapshot) == []
    assert log_differences(native, snapshot) == []


def test_a_container_for_each_attempt(story: Story) -> None:
    assert story.api.pulled == [IMAGE]
    assert len(story.api.created) == 6
    steps = [container.body["Cmd"][:3] for container in story.api.created]
    assert steps == [["dagster", "api", "execute_step"]] * 6


def test_every_container_has_fetched_the_code(story: Story) -> None:
    assert not story.place.source.exists()
    for each in story.api.created:
        assert each.container is not None
        work = each.container.directory / "work"
        assert list(work.glob("metaflow-dagster-*/*/elsewhere_flow.py"))
