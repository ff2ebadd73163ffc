"""Launching runs of compiled flows on Dagster, and watching them.

A *target* is a Dagster that runs can be launched on: one on this machine (`embedded.py`) or one
behind a webserver (`server.py`). Whatever is done with a run goes through `target.Target`, and
Dagster is imported only when a target is opened.
"""
