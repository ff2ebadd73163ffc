"""Dagster's UI, as people use it in a browser who look at compiled flows."""
