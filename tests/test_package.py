"""Code packages: runs on machines that have no copy of the flow, or have it somewhere else."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from metaflow_dagster import CompileError, synthesize
from tests.project import Project, new_project
from tests.support import (
    DagsterRun,
    checked,
    load_module,
    started_afresh,
    use_client,
    witness,
)

pytestmark = pytest.mark.slow

FLOW = """
from metaflow import FlowSpec, card, step
from words import greeting

class PackedFlow(FlowSpec):
    @step
    def start(self):
        self.names = ["Ann", "Bob"]
        self.next(self.greet, foreach="names")

    @step
    def greet(self):
        self.said = greeting(self.input)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.said = [one.said for one in inputs]
        self.next(self.end)

    @card(type="blank")
    @step
    def end(self):
        pass

if __name__ == "__main__":
    PackedFlow()
"""
VARIABLE = "METAFLOW_DAGSTER_FLOW_FILE_PackedFlow"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The flow with a module that it imports, and a datastore at a given place."""
    directory = tmp_path / "at home"
    directory.mkdir()
    (directory / "words.py").write_text("def greeting(name):\n    return f'Hello {name}'\n")
    store = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path / "store")}
    return new_project(directory, "PackedFlow", FLOW, "--package", **store)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files, whose path is short enough for the sockets in it."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def moved(project: Project, temporary: Path, **environment: str) -> Project:
    """A place with nothing but the definitions file, and a directory for temporary files."""
    elsewhere = project.directory.parent / "elsewhere"
    for name in (".metaflow", "dagster"):
        (elsewhere / name).mkdir(parents=True)
    shutil.copy(project.definitions, elsewhere)
    shutil.copy(project.home / "dagster.yaml", elsewhere / "dagster")
    variables = {**project.environment, "TMPDIR": str(temporary), **environment}
    return replace(project, directory=elsewhere, environment=variables)


def run(project: Project) -> DagsterRun:
    process = project.start()
    assert process.wait(120) == 0
    return project.dagster_run()


def packages(project: Project) -> list[Path]:
    """The packages that were taken out of the datastore, and what was left by half."""
    return list(Path(project.environment["TMPDIR"]).glob("metaflow-dagster-*/*"))


@pytest.mark.parametrize("option", ["--executor=multiprocess", "--executor=threads"])
def test_code_comes_out_of_the_datastore(
    project: Project, tmp_path: Path, temporary: Path, option: str
) -> None:
    from metaflow import Run

    project.create("--package", option)
    elsewhere = moved(project, temporary)
    starts = tmp_path / "starts"
    elsewhere = replace(elsewhere, environment={**elsewhere.environment, **witness(starts)})
    done = run(elsewhere)
    assert done.succeeded, done.failures
    (package,) = packages(elsewhere)
    assert bool(started_afresh(starts, "flow.py")) == (option == "--executor=multiprocess")
    assert {path.name for path in package.iterdir()} >= {"flow.py", "words.py", ".mf_code"}
    assert not (package / "definitions.py").exists()
    use_client(tmp_path / "store")
    finished = Run(f"PackedFlow/{done.metaflow_run_id}")
    assert finished["end"].task["said"].data == ["Hello Ann", "Hello Bob"]
    with finished.code.extract() as extracted:
        assert (Path(extracted) / "words.py").is_file()
    assert_card_is_found(done, tmp_path / "store")


def assert_card_is_found(done: DagsterRun, sysroot: Path) -> None:
    """By Metaflow's client, by Dagster's link and by the command that is shown."""
    from metaflow import Task
    from metaflow.cards import get_cards

    use_client(sysroot)
    (card,) = get_cards(Task(f"PackedFlow/{done.metaflow_run_id}/end/end"))
    assert Path(done.metadata["op_end"]["card blank"]).read_text() == card.get()
    command = shlex.split(done.metadata["op_end"]["view cards"])
    listing = [*command[:-2], "list", "--as-json", command[-1]]
    assert "blank" in checked(listing, sysroot, METAFLOW_DATASTORE_SYSROOT_LOCAL=str(sysroot))


def test_default_datastore_is_found_from_elsewhere(tmp_path: Path, temporary: Path) -> None:
    directory = tmp_path / "at home"
    directory.mkdir()
    (directory / "words.py").write_text("def greeting(name):\n    return f'Hello {name}'\n")
    project = new_project(directory, "PackedFlow", FLOW, "--package")
    elsewhere = moved(project, temporary)
    project.flow_file.rename(tmp_path / "away.py")
    done = run(elsewhere)
    assert done.succeeded, done.failures
    assert len(packages(elsewhere)) == 1
    assert_card_is_found(done, directory)


def test_environment_says_where_the_flow_is(
    project: Project, tmp_path: Path, temporary: Path
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    shutil.copy(project.flow_file, copies / "renamed.py")
    (copies / "words.py").write_text("def greeting(name):\n    return f'Bye {name}'\n")
    elsewhere = moved(project, temporary, **{VARIABLE: str(copies / "renamed.py")})
    done = run(elsewhere)
    assert done.succeeded, done.failures
    assert packages(elsewhere) == []
    said = elsewhere_value(tmp_path, done)
    assert said == ["Bye Ann", "Bye Bob"]


def elsewhere_value(tmp_path: Path, done: DagsterRun) -> object:
    from metaflow import Run

    use_client(tmp_path / "store")
    return Run(f"PackedFlow/{done.metaflow_run_id}")["end"].task["said"].data


@pytest.mark.parametrize("options", [(), ("--package",)], ids=["no package", "misled"])
def test_flow_is_nowhere(
    project: Project, tmp_path: Path, temporary: Path, options: tuple[str, ...]
) -> None:
    project.create(*options)
    nowhere = {VARIABLE: str(tmp_path / "none.py")} if options else {}
    elsewhere = moved(project, temporary, **nowhere)
    assert elsewhere.start().wait(120) != 0
    failure = elsewhere.dagster_run().failures[0]
    assert " is not there. Bring the flow along" in failure
    assert VARIABLE in failure


def test_package_is_gone(project: Project, tmp_path: Path, temporary: Path) -> None:
    shutil.rmtree(tmp_path / "store" / ".metaflow" / "PackedFlow")
    elsewhere = moved(project, temporary)
    assert elsewhere.start().wait(120) != 0
    failure = elsewhere.dagster_run().failures[0]
    assert "The code of the flow is not at" in failure
    assert "compiled with the local datastore" in failure


def commit(directory: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=directory, check=True, stdin=subprocess.DEVNULL)


def test_same_code_makes_the_same_package(project: Project) -> None:
    # What compiles it again: another user, from a commit, with generated files beside it.
    project.metaflow("dagster", "create", "other.py", "--package", "--max-workers=2")
    commit(project.directory)
    check = ["dagster", "create", "definitions.py", "--package", "--check"]
    project.metaflow(*check, METAFLOW_USER="somebody")
    (project.directory / "words.py").write_text("def greeting(name):\n    return name\n")
    with pytest.raises(AssertionError, match="exited with 1"):
        project.create("--package", "--check")


def test_checking_stores_nothing(project: Project, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store")
    project.create("--package", "--check")
    assert not (tmp_path / "store" / ".metaflow" / "PackedFlow").exists()


@pytest.fixture
def imported(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    monkeypatch.syspath_prepend(str(project.directory))
    monkeypatch.chdir(project.directory)
    yield load_module(project.flow_file).PackedFlow
    sys.modules.pop("words")


def test_library_stores_the_same_package(imported: type, project: Project) -> None:
    text = synthesize(imported, output="definitions.py", package=True)
    store = project.directory / ".metaflow" / "PackedFlow" / "data"
    (stored,) = (path for path in store.rglob("*") if path.is_file() and "_meta" not in path.name)
    assert f'sha="{stored.name}"' in text


def test_library_cannot_pack(imported: type, project: Project) -> None:
    (project.directory / "broken.py").symlink_to(project.directory / "none.py")
    with pytest.raises(CompileError, match=r"The flow's code cannot be packed: .*broken\.py"):
        synthesize(imported, output="definitions.py", package=True)
