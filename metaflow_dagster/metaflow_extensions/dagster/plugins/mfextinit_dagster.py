"""Registers what metaflow-dagster adds to Metaflow.

The `dagster` command group, the decorator that its jobs use, and the Deployer API.
"""

CLIS_DESC = [("dagster", "metaflow_dagster.cli.cli")]

# Relative, so that they can be imported where the extension is without metaflow-dagster: Metaflow
# loads these at its own import, and the extension goes into code packages.
STEP_DECORATORS_DESC = [("dagster_internal", ".dagster_internal.DagsterInternalDecorator")]
DEPLOYER_IMPL_PROVIDERS_DESC = [("dagster", ".dagster_deployer.DagsterDeployer")]
