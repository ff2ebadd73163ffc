"""The identity of a deployed job: who deployed it, and the production token its runs belong to.

The generated file holds neither, so that it is the same whoever compiles it. As for Metaflow's
deployer for Airflow (metaflow/plugins/airflow/airflow.py), both are kept in the flow's datastore;
the ops look there when they run (runtime/identity.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from metaflow.exception import MetaflowException, MetaflowUnknownUser
from metaflow.plugins.aws.step_functions.production_token import load_token, new_token
from metaflow.util import get_username

from metaflow_dagster.compilation import Compilation
from metaflow_dagster.ir.flow import Backend, Flow, Project
from metaflow_dagster.option_checks import check_token
from metaflow_dagster.runtime.identities import identity_path, stored_identity
from metaflow_dagster.runtime.store import Store, default_sysroot


class IncorrectProductionToken(MetaflowException):
    """Somebody else's job, without the token that they use."""

    headline = "Incorrect production token"


class NotDeployed(MetaflowException):
    """A deployment failed although the flow compiled."""

    headline = "Flow not deployed to Dagster"


@dataclass(frozen=True, slots=True)
class Deployment:
    """The record of a deployed job in the datastore."""

    owner: str
    production_token: str = field(repr=False)

    @property
    def namespace(self) -> str:
        """The namespace of the job's runs."""
        return f"production:{self.production_token}"


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """Which token a user says they know, which one they want, and whether it has to be another."""

    authorize: str | None = field(default=None, repr=False)
    new_token: str | None = field(default=None, repr=False)
    generate_new_token: bool = False


@dataclass(frozen=True, slots=True)
class Deployments:
    """Where the deployment of one job is kept: the datastore of its flow, and the job's name."""

    datastore: Store
    job_name: str

    @property
    def path(self) -> str:
        """The blob in the datastore."""
        return identity_path(self.job_name)

    def load(self) -> Deployment | None:
        """The deployment there is, if there is one."""
        try:
            with self._errors_shown("read"):
                identity = stored_identity(self.datastore, self.job_name)
        except ValueError as error:
            raise NotDeployed(
                f"{self} does not say who deployed job {self.job_name}. Nothing was changed. "
                "Remove it, and deploy the job as if for the first time."
            ) from error
        return None if identity is None else Deployment(*identity)

    def store(self, deployment: Deployment) -> None:
        """Replace the deployment there is."""
        blob = json.dumps(asdict(deployment)).encode()
        with self._errors_shown("written"):
            self.datastore.write(self.path, blob)

    def remove(self) -> bool:
        """Remove the deployment; whether that is possible, which Metaflow's storages do not offer.

        Where it is not, whoever deploys the job again does so with the same token.
        """
        if self.datastore.kind != "local":
            return False
        with self._errors_shown("removed"):
            Path(self.datastore.address(self.path)).unlink(missing_ok=True)
        return True

    @contextmanager
    def _errors_shown(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (MetaflowException, OSError) as error:
            raise NotDeployed(
                f"{self}, which says who deployed job {self.job_name}, cannot be {verb}: {error}. "
                "Nothing was changed. See to it that Metaflow's datastore can be reached and "
                "written to, and try again."
            ) from error

    def __str__(self) -> str:
        return f"{self.datastore.root}/{self.path}"


def store_code(compilation: Compilation) -> None:
    """Store the code package of a flow, if it has one; its key is made of its content."""
    if compilation.code is None:
        return
    flow = compilation.flow
    store = deployments(flow.backend, flow.file, compilation.job_name).datastore
    try:
        store.of_flow(flow.name).save_data([compilation.code], len_hint=1)
    except (MetaflowException, OSError) as error:
        raise NotDeployed(
            f"The code package of {flow.name} cannot be stored in {store.root}: {error}. Nothing "
            "was changed. See to it that Metaflow's datastore can be reached and written to, and "
            "try again."
        ) from error


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """A compiled job, and its deployment as it is and as it will be.

    `place` is where the deployment is kept; `previous` is None if there is none.
    """

    compilation: Compilation
    place: Deployments
    previous: Deployment | None
    deployment: Deployment

    def store(self) -> None:
        """Store the code, if it is packed, and replace the deployment, if it is another one."""
        store_code(self.compilation)
        if self.deployment != self.previous:
            self.place.store(self.deployment)

    @property
    def has_new_token(self) -> bool:
        """Whether its runs are in another namespace from now on."""
        token = self.deployment.production_token
        return self.previous is None or self.previous.production_token != token


def planned_deployment(compilation: Compilation, tokens: TokenOptions) -> PlannedDeployment:
    """The deployment of a compiled job, with the tokens that its user gives or wants."""
    flow, name = compilation.flow, compilation.job_name
    place = deployments(flow.backend, flow.file, name)
    previous = place.load()
    deployment = next_deployment(previous, tokens, name, flow.project)
    return PlannedDeployment(compilation, place, previous, deployment)


def backend_found_anywhere(flow: Flow) -> Backend:
    """The backend of a flow whose code may be taken elsewhere, from where no local one is found."""
    backend = flow.backend
    if backend.datastore != "local" or backend.local_sysroot:
        return backend
    return replace(backend, local_sysroot=default_sysroot(flow.file))


def deployments(backend: Backend, flow_file: str, job_name: str) -> Deployments:
    """Where the ops of a job will look (runtime/store.py: store_of)."""
    root, sysroot = backend.datastore_root, backend.local_sysroot
    return Deployments(Store.near(flow_file, backend.datastore, root, sysroot), job_name)


def next_deployment(
    previous: Deployment | None, options: TokenOptions, job_name: str, project: Project | None
) -> Deployment:
    """The deployment that replaces the previous one; refused to who may not do that.

    The rules, and the tokens, are those of Metaflow's own deployers (resolve_token of
    metaflow/plugins/airflow/airflow_cli.py).
    """
    user = get_username()
    if user is None:
        raise MetaflowUnknownUser()  # who is unknown could not deploy the job a second time
    prefix = token_prefix(job_name, project)
    if previous is not None:
        raise_if_refused(
            previous, options.authorize, prefix, job_name, "deploy a new version of it"
        )
    if options.new_token is not None:
        return Deployment(user, _given_token(options.new_token, project))
    if previous is None:
        return Deployment(user, new_token(prefix))
    if options.generate_new_token:
        return Deployment(user, _other_token(prefix, previous.production_token))
    return Deployment(user, previous.production_token)


def token_prefix(job_name: str, project: Project | None) -> str:
    """The prefix of the job's tokens; all flows in a branch of a project share it."""
    if project is None:
        return job_name.lower()
    digest = hashlib.sha1(f"{project.name}.{project.branch}".encode()).digest()
    return f"mfprj-{base64.b32encode(digest).decode()[:16]}".lower()


def raise_if_refused(
    previous: Deployment, authorize: str | None, prefix: str, job_name: str, wish: str
) -> None:
    """Refuse who is not the owner and does not know the token, neither now nor from earlier."""
    if previous.owner == get_username():
        return
    known = _without_prefix(authorize) if authorize is not None else _kept_token(prefix)
    if known != previous.production_token:
        raise IncorrectProductionToken(
            f"There is an existing version of job {job_name} which was deployed by the user "
            f"*{previous.owner}*. Nothing was changed.\n"
            f"To {wish}, you need to use the same production token that they "
            "used. Please reach out to them to get the token, and call this command with\n"
            "    --authorize TOKEN\n"
            'See "Organizing Results" at https://docs.metaflow.org/ about production tokens.'
        )


def _kept_token(prefix: str) -> str | None:
    """The token that Metaflow has kept in this user's home."""
    try:
        token: str | None = load_token(prefix)
    except (OSError, ValueError) as error:
        raise NotDeployed(
            f"The production token that was kept for {prefix} in Metaflow's home cannot be read: "
            f"{error}. Nothing was changed. Give the token with --authorize."
        ) from error
    return token


def _given_token(given: str, project: Project | None) -> str:
    if project is not None:
        # The flows of a project find each other by the prefix of their tokens.
        raise NotDeployed(
            "--new-token is not supported for @projects. Use --generate-new-token to create a "
            "new token."
        )
    token = _without_prefix(given)
    problems = [str(problem) for problem in check_token(token)]
    if problems:
        raise NotDeployed(" ".join(problems))
    return token


def _other_token(prefix: str, previous: str) -> str:
    token: str | None = new_token(prefix, previous)
    if token is None:
        raise NotDeployed(
            "--generate-new-token is not supported after using --new-token. Use --new-token to "
            "make a new namespace."
        )
    return token


def _without_prefix(token: str) -> str:
    """The token without what makes a namespace of it, which people copy too."""
    return token.removeprefix("production:")
