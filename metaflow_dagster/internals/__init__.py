"""The names of Dagster and Metaflow that are used here, and that they do not promise to keep."""
