"""`dagster create`: compile the flow into a Dagster definitions file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from metaflow._vendor import click
from metaflow.exception import MetaflowException
from metaflow.plugins.aws.step_functions.production_token import store_token

from metaflow_dagster.cli.compiling import CHECK, REPLACING, are_current, compile_options
from metaflow_dagster.cli.report import report_automation, report_flow, report_imports, report_needs
from metaflow_dagster.compilation import Compilation, hand_over
from metaflow_dagster.compiler import compile_session
from metaflow_dagster.deployment import (
    Deployment,
    TokenOptions,
    planned_deployment,
    token_prefix,
)
from metaflow_dagster.diagnostics import CompileError, raise_if_any
from metaflow_dagster.files import all_replaced_at_the_end, check_replaced
from metaflow_dagster.frontend import Session
from metaflow_dagster.ir.flow import Required
from metaflow_dagster.operate.deployed import DeployedJob, note_deployment
from metaflow_dagster.operate.errors import DagsterUnavailable
from metaflow_dagster.operate.home import dagster_home
from metaflow_dagster.options import Options, Surface
from metaflow_dagster.shell import file_word, shell_word


class NotCompiled(MetaflowException):
    """A compile error in the form in which Metaflow shows errors."""

    headline = "Flow not compiled to Dagster"


@click.command(help="Compile this flow into a Dagster definitions file.")
@click.argument("file", required=False, type=click.Path())
@compile_options(Surface.CREATE)
@click.option(
    "--authorize",
    default=None,
    metavar="TOKEN",
    help="Deploy a job that somebody else has deployed, whose production token this is. Metaflow "
    "keeps it in METAFLOW_HOME, so once is enough.",
)
@click.option(
    "--generate-new-token",
    is_flag=True,
    default=False,
    help="Generate a new production token for this job. This moves its runs to a new namespace.",
)
@click.option(
    "--new-token",
    default=None,
    metavar="TOKEN",
    help="Use the given production token for this job. This moves its runs to the given namespace.",
)
@CHECK
@click.option(
    "--show-plan",
    is_flag=True,
    default=False,
    help="Write nothing; print the job as it would be, one op a line.",
)
@click.option(
    "--deployer-attribute-file",
    default=None,
    type=click.Path(),
    hidden=True,
    help="Write what Metaflow's Deployer API needs to this file.",
)
@click.option(
    "--output-dir",
    default=".",
    type=click.Path(),
    help="Directory that FILE is relative to. [default: the working directory]",
)
@REPLACING
@click.option(
    "--hand-over",
    "handed_over_to",
    default=None,
    type=click.Path(),
    hidden=True,  # for the commands that compile several flows
    help="Write nothing but what comes out, here, for the process that has started this one.",
)
@click.pass_context
def create(
    context: Any,
    file: str | None,
    authorize: str | None,
    generate_new_token: bool,
    new_token: str | None,
    check: bool,
    show_plan: bool,
    deployer_attribute_file: str | None,
    output_dir: str,
    force: bool,
    handed_over_to: str | None,
    **chosen: Any,
) -> None:
    options = Options(**chosen)
    session = Session(context.obj, context.find_root(), tuple(sys.argv[1:]))
    is_written = not (check or show_plan or handed_over_to)
    try:
        compilation = compile_session(session, options, file, output_dir)
        if is_written and not force:
            raise_if_any(fault for file in compilation.texts for fault in check_replaced(file))
    except CompileError as error:
        raise NotCompiled(str(error)) from error
    if handed_over_to is not None:
        hand_over(compilation, Path(handed_over_to))
    elif show_plan:
        click.echo(compilation.plan, nl=False)
    elif check:
        _check(compilation)
    else:
        _deploy(compilation, TokenOptions(authorize, new_token, generate_new_token))
        report_automation([compilation.flow])
        report_imports(options, [compilation.flow])
        report_needs(options, [compilation.flow])
        _report_commands(compilation)
        if deployer_attribute_file is not None:
            _write_attributes(Path(deployer_attribute_file), session, compilation)


def _check(compilation: Compilation) -> None:
    if not are_current(compilation.texts):
        sys.exit(1)
    click.echo(f"{compilation.output} is current.")


def _deploy(compilation: Compilation, tokens: TokenOptions) -> None:
    job_name, output, flow = compilation.job_name, compilation.output, compilation.flow
    planned = planned_deployment(compilation, tokens)
    try:
        # The token is stored before the file takes its place. Should the second fail, runs of the
        # old file go to the namespace that was announced. The other way round, those of the new
        # file would go to the namespace of the old one, or of nobody.
        with all_replaced_at_the_end(compilation.texts):
            planned.store()
    except OSError as error:
        raise NotCompiled(
            f"{error.filename} cannot be written: {error.strerror}. It is as it was."
        ) from error
    click.echo(f"Compiled {flow.name} to {output}, as the job {job_name}.")
    report_flow(flow)
    if planned.has_new_token:
        click.echo("\nThe flow has a new production token.")
    _report_namespace(planned.deployment)
    keep_token(planned.deployment, compilation)
    note_for_list(compilation)


def _report_commands(compilation: Compilation) -> None:
    file, flow = file_word(str(compilation.output)), compilation.flow
    required = [
        *(["--partition KEY"] if flow.dimensions else []),
        *(
            f"{shell_word(f'--{parameter.name}')} VALUE"
            for parameter in flow.config_parameters
            if isinstance(parameter.default, Required)
        ),
    ]
    click.echo("\nOpen the job in Dagster's UI, or run it:")
    click.echo(f"    dagster dev -f {file}")
    if required:
        click.echo(f"    python {file_word(sys.argv[0])} dagster trigger {' '.join(required)}")
    else:
        click.echo(f"    dagster job execute -f {file} -j {compilation.job_name}")


def _report_namespace(deployment: Deployment) -> None:
    token = shell_word(deployment.production_token)
    click.echo("\nThe namespace of this production flow is")
    click.echo(f"    {deployment.namespace}")
    click.echo("To analyze results of this production flow add this line in your notebooks:")
    click.echo(f"    namespace({json.dumps(deployment.namespace, ensure_ascii=False)})")
    click.echo("If you want to authorize other people to deploy new versions of it, they need to")
    click.echo("add this to the command when they deploy it for the first time:")
    click.echo(f"    --authorize {token}")
    click.echo('See "Organizing Results" at https://docs.metaflow.org/ about production tokens.')


def keep_token(deployment: Deployment, compilation: Compilation) -> None:
    """Keep the token in Metaflow's home, should somebody else deploy the job."""
    prefix = token_prefix(compilation.job_name, compilation.flow.project)
    try:
        store_token(prefix, deployment.production_token)
    except (OSError, ValueError) as error:
        click.echo(f"Note that the token could not be kept in Metaflow's home ({error}): should")
        click.echo("somebody else deploy this flow, you need --authorize as well.")


def note_for_list(compilation: Compilation) -> None:
    """Note the deployment for `dagster list`; where that cannot be done, it is deployed as well."""
    file = compilation.output.absolute()
    job = DeployedJob(compilation.flow.name, compilation.job_name, file)
    try:
        note_deployment(dagster_home(), job)
    except (DagsterUnavailable, OSError) as error:
        click.echo(f"Warning: `dagster list` will not show this deployment: {error}")


def _write_attributes(file: Path, session: Session, compilation: Compilation) -> None:
    attributes = {
        "name": compilation.job_name,
        "flow_name": compilation.flow.name,
        "metadata": session.state.metadata.metadata_str(),
        "additional_info": {"definitions_file": str(compilation.output.absolute())},
    }
    try:
        file.write_text(json.dumps(attributes), encoding="utf-8")
    except OSError as error:
        raise NotCompiled(
            f"{file} cannot be written: {error.strerror}. The flow is deployed all the same."
        ) from error
