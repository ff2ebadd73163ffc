"""Registers the `dagster` command group with Metaflow."""

CLIS_DESC = [("dagster", "metaflow_dagster.cli.cli")]
