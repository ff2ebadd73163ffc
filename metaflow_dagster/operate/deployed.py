"""Which jobs are deployed.

A deployed job of this machine is a definitions file, and the file says what it is. Where such files
are, nobody knows but who has written them: so `dagster create` leaves a note in the home of the
embedded Dagster. A note holds no more than the place; one whose file is gone, or has become
another job, counts for nothing. A server is asked which jobs it has loaded.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaflow_dagster.operate.errors import DeploymentNotFound

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
    """What a definitions file says of its flow; `options` are Metaflow's top-level options."""

    file: Path
    flow: str
    job_name: str
    flow_file: Path
    options: Mapping[str, str]

    @property
    def job(self) -> DeployedJob:
        """The job of the file."""
        return DeployedJob(self.flow, self.job_name, self.file)


def read_compiled(file: Path) -> CompiledFile | None:
    """A file as `dagster create` has written it, without running it; None if it is no such file."""
    directory = str(file.absolute().parent)
    try:
        constants = dict(_constants(ast.parse(file.read_text(encoding="utf-8"))))
        flow, job, flow_file, options = (
            _value(constants[name], directory)
            for name in ("FLOW_NAME", "JOB_NAME", "FLOW_FILE", "METAFLOW_TOP_ARGS")
        )
    except (OSError, ValueError, SyntaxError, KeyError):
        return None
    given = [one.removeprefix("--").partition("=") for one in options.split("\0")]
    return CompiledFile(
        file.absolute(), flow, job, Path(flow_file), {name: value for name, _, value in given}
    )


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value


def _value(expression: ast.expr, directory: str) -> str:
    """A text, or texts with NUL between them, in the forms in which a compiled file has them."""
    match expression:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id="HERE"):
            return directory
        case ast.BinOp(left=left, right=right):
            return _value(left, directory) + _value(right, directory)
        case ast.Call(func=ast.Attribute(attr="join"), args=parts):
            return os.path.normpath(os.path.join(*(_value(part, directory) for part in parts)))
        case ast.Call(func=ast.Attribute(attr="normpath"), args=[path]):
            return _value(path, directory)
        case ast.List(elts=parts):
            return "\0".join(_value(part, directory) for part in parts)
        case _:
            raise ValueError(f"a compiled file has no {ast.unparse(expression)}")


def note_deployment(home: Path, job: DeployedJob) -> None:
    """Note that a job is deployed; `OSError` if that cannot be written."""
    note = _note(home, job)
    note.parent.mkdir(exist_ok=True)
    text = json.dumps({"definitions_file": str(job.definitions_file), "job": job.name})
    note.write_text(text, encoding="utf-8")


def forget_deployment(home: Path, job: DeployedJob) -> None:
    """Remove the note that a job is deployed, if there is one."""
    _note(home, job).unlink(missing_ok=True)


def _note(home: Path, job: DeployedJob) -> Path:
    digest = hashlib.sha1(job.identifier.encode()).hexdigest()[:12]
    return home / _NOTES / f"{job.name}-{digest}.json"


def noted_deployments(home: Path) -> Sequence[DeployedJob]:
    """The jobs that have been deployed with this home and are there."""
    found = (_noted(note) for note in sorted((home / _NOTES).glob("*.json")))
    return [job for job in found if job is not None]


def _noted(note: Path) -> DeployedJob | None:
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        file, name = Path(noted["definitions_file"]), noted["job"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    compiled = read_compiled(file)
    return compiled.job if compiled is not None and compiled.job_name == name else None


def find_deployment(known: Sequence[DeployedJob], identifier: str) -> DeployedJob:
    """The job that an identifier names, or a job's name alone; `DeploymentNotFound` if none."""
    place, _, name = identifier.rpartition(":")
    compiled = read_compiled(Path(place)) if place.endswith(".py") else None
    if compiled is not None and compiled.job_name == name:
        return compiled.job
    found = [job for job in known if job.name == name and place in ("", str(job.location))]
    if len(found) == 1:
        return found[0]
    if found:
        raise DeploymentNotFound(
            f"More than one job {name} is deployed. Name one: {_listed(found)}."
        )
    raise DeploymentNotFound(
        f"No job {identifier} is deployed. Give FILE:JOB, with the file that `dagster create` has "
        "written, or the name of a job that this Dagster knows: "
        f"{_listed(known) or 'it knows none'}."
    )


def _listed(jobs: Sequence[DeployedJob]) -> str:
    return ", ".join(sorted(job.identifier for job in jobs))
