"""Who has deployed a job, as the datastore holds it."""

import json
import os


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
