"""`create` of Metaflow's Deployer API for Dagster."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from metaflow_dagster.keywords import parameters_section, takes
from metaflow_dagster.options import Options, Surface, options_of

if TYPE_CHECKING:
    from metaflow_extensions.dagster.plugins.dagster_deployer import DagsterDeployer

    from metaflow_dagster.deployer import DagsterDeployedFlow


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployerOptions(Options):
    """The options of `create`: those of a compilation, and those of a deployment."""

    definitions_file: str | None = None
    authorize: str | None = None
    generate_new_token: bool = False
    new_token: str | None = None
    force: bool = False


_TOKENS = ("authorize", "new_token")


@takes(DeployerOptions)
def create(self: DagsterDeployer, options: DeployerOptions) -> DagsterDeployedFlow:
    """
    Compile the flow into a Dagster definitions file.

    Parameters
    ----------
    {parameters}
    definitions_file : str, optional, default None
        The file to write. `<job name in lower case>_dagster.py` in the deployer's working
        directory if it is not specified.
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
    TypeError
        If there is no such option, or one is of another type.
    """
    if options.name is not None:
        raise TypeError("create() takes no name: give it to Deployer(...).dagster(name=...)")
    tokens = {name: getattr(options, name) for name in _TOKENS}
    words = {"name": self.job_name, "file": options.definitions_file, **_keywords_of(options)}
    deployed: DagsterDeployedFlow = self.create_privately(words, tokens)
    return deployed


create.__doc__ = (create.__doc__ or "").format(
    parameters=parameters_section(Surface.DEPLOYER, "    ").strip()
)


def _keywords_of(options: DeployerOptions) -> dict[str, Any]:
    """The options as Metaflow's click API takes them; None for what is not given."""
    own = [*options_of(Surface.DEPLOYER), *fields(options)[len(fields(Options)) :]]
    names = [option.name for option in own if option.name not in ("definitions_file", *_TOKENS)]
    values = {name: getattr(options, name) for name in names}
    return {name: _word(value) for name, value in values.items()}


def _word(value: Any) -> Any:
    return list(value) or None if isinstance(value, tuple) else value
