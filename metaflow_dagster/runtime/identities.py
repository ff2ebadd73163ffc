"""Who has deployed a job, as the datastore holds it."""

import json
import os

from metaflow_dagster.runtime.settings import DEPLOYMENTS
from metaflow_dagster.runtime.store import Store


def identity_path(job_name: str) -> str:
    """The place in the datastore of what is known of a deployed job."""
    return f"{DEPLOYMENTS}/{job_name}"


def stored_identity(store: Store, job_name: str) -> tuple[str, str] | None:
    """Owner and production token of a job; None if nobody has deployed it.

    `ValueError` if the content does not say so.
    """
    content = store.read(identity_path(job_name))
    return None if content is None else read_identity(content)


def read_identity(content: bytes) -> tuple[str, str]:
    """Owner and production token; `ValueError` if the content does not say so."""
    try:
        blob = json.loads(content)
        owner, token = blob["owner"], blob["production_token"]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"no identity: {error}") from error
    for text in (owner, token):
        if not isinstance(text, str) or b"\0" in os.fsencode(text):
            raise ValueError(f"no name or token: {text!r}")
    return owner, token
