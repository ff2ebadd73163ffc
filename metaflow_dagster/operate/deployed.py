"""Which jobs are deployed.

A deployed job of this machine is a definitions file, and the file says what it is. Where such files
are, nobody knows but who has written them: so `dagster create` leaves a note in the home of the
embedded Dagster. A note holds no more than the place; one whose file is gone, or has become
another job, counts for nothing. A server is asked which jobs it has loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL
from metaflow.plugins import DATASTORES

from metaflow_dagster.deployment import Deployments
from metaflow_dagster.generated import Record, is_generated, read_record
from metaflow_dagster.names import is_dagster_name
from metaflow_dagster.operate.earlier import earlier_record
from metaflow_dagster.operate.errors import DeploymentNotFound
from metaflow_dagster.runtime.store import Store

_NOTES = "deployed"  # directory in the home


@dataclass(frozen=True, slots=True)
class DeployedJob:
    """A job that runs can be launched of.

    On this machine it has a definitions file, on a server a code location.
    """

    flow: str
    name: str
    definitions_file: Path | None = None
    location: str | None = None

    @property
    def identifier(self) -> str:
        """Names the job in any process: `FILE:JOB`, or `LOCATION:JOB` on a server."""
        return f"{self.definitions_file or self.location}:{self.name}"


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """A definitions file, and what it says of its flow.

    `is_generated` is whether it has the mark of generated files.
    """

    file: Path
    record: Record
    is_generated: bool

    @property
    def job(self) -> DeployedJob:
        """The job of the file."""
        return DeployedJob(self.record.flow, self.record.job, self.file)

    @property
    def flow_file(self) -> Path:
        """The file of the flow."""
        return Path(os.path.normpath(self.file.parent / self.record.file))

    @property
    def deployments(self) -> Deployments:
        """Where its owner and production token are kept."""
        root, sysroot = self.datastore_root, DATASTORE_SYSROOT_LOCAL
        store = Store.near(str(self.flow_file), self.record.datastore, root, sysroot)
        return Deployments(store, self.record.job)

    @property
    def datastore_root(self) -> str | None:
        """Where the datastore is, unless Metaflow's own settings say so."""
        root = self.record.datastore_root
        is_local = root is not None and self.record.datastore == "local"
        return os.path.normpath(self.file.parent / root) if root and is_local else root


def read_compiled(file: Path) -> CompiledFile | None:
    """A file as `dagster create` has written it, without running it; None if it is no such file."""
    try:
        return _read(file.absolute())
    except (OSError, ValueError, SyntaxError, KeyError, RecursionError, MemoryError):
        return None  # the last two are what Python's parser says of too many brackets


def _read(file: Path) -> CompiledFile:
    if not file.is_file():
        raise ValueError(f"{file} is no file")  # but a pipe, say, which nobody writes to
    text = file.read_text(encoding="utf-8")
    record = read_record(text) or earlier_record(text, file.parent)
    # Both become parts of paths, of which files are removed by `dagster delete`.
    known = {storage.TYPE for storage in DATASTORES}
    if not is_dagster_name(record.job) or record.datastore not in known:
        raise ValueError(f"{file} names a job or datastore as no compiled file does")
    return CompiledFile(file, record, is_generated(text))


def note_deployment(home: Path, job: DeployedJob) -> None:
    """Note that a job is deployed; `OSError` if that cannot be written."""
    note = _note_file(home, job)
    note.parent.mkdir(exist_ok=True)
    text = json.dumps({"definitions_file": str(job.definitions_file), "job": job.name})
    note.write_text(text, encoding="utf-8")


def forget_deployment(home: Path, job: DeployedJob) -> None:
    """Remove the note that a job is deployed, if there is one."""
    _note_file(home, job).unlink(missing_ok=True)


def _note_file(home: Path, job: DeployedJob) -> Path:
    digest = hashlib.sha1(os.fsencode(job.identifier)).hexdigest()[:12]
    return home / _NOTES / f"{job.name}-{digest}.json"


def noted_deployments(home: Path) -> Sequence[DeployedJob]:
    """The jobs that have been deployed with this home and are there."""
    jobs = (_job_of_note(note) for note in sorted((home / _NOTES).glob("*.json")))
    return [job for job in jobs if job is not None]


def _job_of_note(note: Path) -> DeployedJob | None:
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        file, name = Path(noted["definitions_file"]), noted["job"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return _job_of(file, name)


def _job_of(file: Path, name: str) -> DeployedJob | None:
    compiled = read_compiled(file)
    return compiled.job if compiled is not None and compiled.record.job == name else None


def job_in_file(identifier: str) -> DeployedJob | None:
    """The job that `FILE:JOB` names; None if there is no such file, or not with that job."""
    place, _, name = identifier.rpartition(":")
    return _job_of(Path(place), name) if place.endswith(".py") else None


def find_deployment(deployed: Sequence[DeployedJob], identifier: str) -> DeployedJob:
    """The job that its name alone or `LOCATION:JOB` names; `DeploymentNotFound` if none."""
    place, _, name = identifier.rpartition(":")
    meant = [job for job in deployed if job.name == name and place in ("", str(job.location))]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise DeploymentNotFound(
            f"More than one job {name} is deployed. Name one: {_identifiers(meant)}."
        )
    raise DeploymentNotFound(
        f"No job {identifier} is deployed. Give FILE:JOB, with the file that `dagster create` has "
        "written, or the name of a job that this Dagster knows: "
        f"{_identifiers(deployed) or 'it knows none'}."
    )


def _identifiers(jobs: Sequence[DeployedJob]) -> str:
    return ", ".join(sorted(job.identifier for job in jobs))
