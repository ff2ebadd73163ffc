"""Registers with Metaflow the `dagster` command group, and the decorator that its jobs use."""

CLIS_DESC = [("dagster", "metaflow_dagster.cli.cli")]

# Relative, so that it can be imported where the extension is without metaflow-dagster: Metaflow
# loads decorators at its own import, and the extension goes into code packages.
STEP_DECORATORS_DESC = [("dagster_internal", ".dagster_internal.DagsterInternalDecorator")]
