"""Notices to people, by a webhook, that a run has ended."""

import json
import os
import time
from collections.abc import Sequence
from http.client import HTTPException, InvalidURL
from urllib.request import Request, urlopen

from dagster import RunFailureSensorContext, RunStatusSensorContext

from metaflow_dagster.runtime.settings import RUN_ID_TAG, FlowSettings

WEBHOOK_VARIABLE = "METAFLOW_DAGSTER_WEBHOOK_URL"  # in the environment, since the URL is a secret
WEBHOOK_PAUSES = (1, 4, None)  # seconds after each attempt
WEBHOOK_TIMEOUT = 10  # seconds


class NotNotified(Exception):
    """Nobody has been told of the end of a run."""


def notify_of_failure(flow: FlowSettings, context: RunFailureSensorContext) -> None:
    """Tell that a run has failed, and in which ops."""
    ops = sorted({str(event.step_key) for event in context.get_step_failure_events()})
    ending = f"failed in {', '.join(ops)}" if ops else "failed"
    send_notice(notice(flow, context, ending))


def notify_of_success(flow: FlowSettings, context: RunStatusSensorContext) -> None:
    """Tell that a run has succeeded."""
    send_notice(notice(flow, context, "succeeded"))


def notice(flow: FlowSettings, context: RunStatusSensorContext, ending: str) -> dict[str, str]:
    """The notice: a text, as chat services want it, and the facts in it one by one."""
    run = context.dagster_run
    run_id = run.tags.get(RUN_ID_TAG, "")
    return {
        "text": f"Run {run_id or run.run_id} of {flow.name} {ending}.",
        "status": run.status.value,
        "flow_name": flow.name,
        "run_id": run_id,
        "job_name": run.job_name,
        "dagster_run_id": run.run_id,
    }


def send_notice(content: dict[str, str], pauses: Sequence[float | None] = WEBHOOK_PAUSES) -> None:
    """Post a notice to the webhook; `NotNotified` if it does not take it.

    `pauses` are the seconds after each attempt, None after the last.
    """
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        raise NotNotified(f"Set {WEBHOOK_VARIABLE} where the code location of the job is loaded.")
    if not url.lower().startswith(("http://", "https://")):  # others are files, say
        raise no_webhook()
    try:
        request = Request(
            url, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
        )
    except ValueError:
        raise no_webhook() from None
    for pause in pauses:
        try:
            with urlopen(request, timeout=WEBHOOK_TIMEOUT):
                return
        except (InvalidURL, ValueError):  # such as for letters that are not ASCII
            raise no_webhook() from None
        except (OSError, HTTPException) as error:
            if pause is None:
                reason = getattr(error, "reason", error)
                raise NotNotified(f"The webhook does not take the notice: {reason}.") from None
            time.sleep(pause)


def no_webhook() -> NotNotified:
    """The error for what is no URL; it goes without its cause, which quotes the secret."""
    return NotNotified(f"{WEBHOOK_VARIABLE} is not the URL of a webhook.")
