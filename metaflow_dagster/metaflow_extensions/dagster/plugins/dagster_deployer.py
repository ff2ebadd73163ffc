"""`Deployer(FILE).dagster(...)`: what Metaflow's Deployer API offers for Dagster.

As the decorator, this is part of the extension, because Metaflow imports it in every process. What
needs the rest of metaflow-dagster is imported when it is used.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from metaflow.runner.deployer_impl import DeployerImpl

if TYPE_CHECKING:
    from metaflow_dagster.deployer import DagsterDeployedFlow

# Click takes options from such variables too, and unlike a command line they are not seen by
# others on the machine, nor shown in errors.
_TOKENS = {
    "authorize": "METAFLOW_DAGSTER_CREATE_AUTHORIZE",
    "new_token": "METAFLOW_DAGSTER_CREATE_NEW_TOKEN",
}


class _Create:
    """The method `create`, whose parameters and documentation are made when it is asked for.

    They are those of `metaflow_dagster.options`.
    """

    def __get__(self, deployer: DagsterDeployer | None, owner: type[DagsterDeployer]) -> Any:
        from metaflow_dagster.deploying import create

        return create if deployer is None else MethodType(create, deployer)


class DagsterDeployer(DeployerImpl):
    """
    Deployer implementation for Dagster.

    Parameters
    ----------
    name : str, optional, default None
        Name of the Dagster job. The flow's name is used if it is not specified.
    url : str, optional, default None
        A running Dagster webserver that launches the runs, such as http://127.0.0.1:3000. If it is
        not specified, METAFLOW_DAGSTER_URL, and without that a Dagster on this machine.
    location : str, optional, default None
        With a webserver: the code location of the job, if several have one of that name.
    """

    TYPE: ClassVar[str | None] = "dagster"
    env_vars: dict[str, str]

    def __init__(self, deployer_kwargs: dict[str, str | None], **kwargs: Any) -> None:
        """Take the arguments of `Deployer(...).dagster(...)` and those of `Deployer`."""
        self.job_name, self.url, self.location = _target(**deployer_kwargs)
        super().__init__(**kwargs)
        self.url = self.url or self.env_vars.get("METAFLOW_DAGSTER_URL")
        self.additional_info: dict[str, str] = {}

    @property
    def deployer_kwargs(self) -> dict[str, Any]:
        """Options of the command group, which has none: its commands have them."""
        return {}

    @staticmethod
    def deployed_flow_type() -> type[DagsterDeployedFlow]:
        """The class of the objects that `create` returns."""
        from metaflow_dagster.deployer import DagsterDeployedFlow

        return DagsterDeployedFlow

    create: ClassVar[Any] = _Create()

    def create_privately(
        self, options: dict[str, Any], tokens: dict[str, str | None]
    ) -> DagsterDeployedFlow:
        """Run `dagster create` with options, and with tokens that no command line shows."""
        before = self.env_vars
        given = {_TOKENS[name]: token for name, token in tokens.items() if token is not None}
        self.env_vars = {**before, **given}
        try:
            wanted = {name: value for name, value in options.items() if value is not None}
            deployed: DagsterDeployedFlow = self._create(self.deployed_flow_type(), **wanted)
            return deployed
        finally:
            self.env_vars = before


def _target(
    name: str | None = None, url: str | None = None, location: str | None = None
) -> tuple[str | None, str | None, str | None]:
    """The arguments of `Deployer(...).dagster(...)`; `TypeError` names those it does not have."""
    return name, url, location
