"""`Deployer(FILE).dagster(...)`: what Metaflow's Deployer API offers for Dagster.

As the decorator, this is part of the extension, because Metaflow imports it in every process. What
needs the rest of metaflow-dagster is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        """What `create` returns."""
        from metaflow_dagster.deployer import DagsterDeployedFlow

        return DagsterDeployedFlow

    def create(
        self,
        *,
        definitions_file: str | None = None,
        tags: Sequence[str] | None = None,
        decospecs: Sequence[str] | None = None,
        namespace: str | None = None,
        workflow_timeout: int | None = None,
        max_workers: int | None = None,
        executor: str | None = None,
        warm_steps: bool = False,
        pools: Sequence[str] | None = None,
        workflow_priority: int | None = None,
        package: bool = False,
        origin_run_id: str | None = None,
        notify_on_error: bool = False,
        notify_on_success: bool = False,
        authorize: str | None = None,
        generate_new_token: bool = False,
        new_token: str | None = None,
        force: bool = False,
    ) -> DagsterDeployedFlow:
        """
        Compile the flow into a Dagster definitions file.

        Parameters
        ----------
        definitions_file : str, optional, default None
            The file to write. `<job name in lower case>_dagster.py` in the deployer's working
            directory if it is not specified.
        tags : List[str], optional, default None
            Tag every run with these.
        decospecs : List[str], optional, default None
            Decorators to add to every step, such as "retry:times=3" (`--with`).
        namespace : str, optional, default None
            Metaflow namespace of the steps. That of the production token if it is not specified.
        workflow_timeout : int, optional, default None
            Seconds after which a run is stopped.
        max_workers : int, optional, default None
            Most steps that run at once. The number of CPUs if it is not specified.
        executor : str, optional, default None
            What runs the ops: "threads" of the run's process, the default, "multiprocess",
            "in_process", one after the other, "celery", "docker", "k8s", "celery_k8s", or
            "module:attribute" of another one.
        warm_steps : bool, optional, default False
            Fork the processes of steps from one that has imported Metaflow, instead of starting a
            Python for each.
        pools : List[str], optional, default None
            Dagster's pools that ops take a slot of: "NAME" for all steps, "STEP=NAME" for one.
        workflow_priority : int, optional, default None
            Which of the runs in Dagster's queue start first: those of the highest number.
        package : bool, optional, default False
            Store the flow's code in the datastore, for machines that have no copy of it.
        origin_run_id : str, optional, default None
            Resume this run of Dagster's (`dagster-…`) in every run.
        notify_on_error : bool, optional, default False
            Tell a webhook when a run has failed: METAFLOW_DAGSTER_WEBHOOK_URL, in the environment
            where Dagster loads the definitions file.
        notify_on_success : bool, optional, default False
            Tell the same webhook when a run has succeeded.
        authorize : str, optional, default None
            The production token of a job that somebody else has deployed. Metaflow keeps it in
            METAFLOW_HOME, so once is enough.
        generate_new_token : bool, optional, default False
            Generate a new production token. Moves the runs to a new namespace.
        new_token : str, optional, default None
            Use the given production token. Moves the runs to the given namespace.
        force : bool, optional, default False
            Replace the file even if `create` has not written it.

        Returns
        -------
        DagsterDeployedFlow
            The flow deployed to Dagster.

        Raises
        ------
        RuntimeError
            If the flow cannot be compiled or deployed; it quotes what the command says.
        """
        options = {
            "file": definitions_file,
            "name": self.job_name,
            "tags": None if tags is None else list(tags),
            "decospecs": None if decospecs is None else list(decospecs),
            "namespace": namespace,
            "workflow_timeout": workflow_timeout,
            "max_workers": max_workers,
            "executor": executor,
            "warm_steps": warm_steps or None,
            "pools": None if pools is None else list(pools),
            "workflow_priority": workflow_priority,
            "package": package or None,
            "origin_run_id": origin_run_id,
            "notify_on_error": notify_on_error or None,
            "notify_on_success": notify_on_success or None,
            "generate_new_token": generate_new_token or None,
            "force": force or None,
        }
        tokens = {"authorize": authorize, "new_token": new_token}
        return self._create_privately(options, tokens)

    def _create_privately(
        self, options: dict[str, Any], tokens: dict[str, str | None]
    ) -> DagsterDeployedFlow:
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
