"""Where Dagster's UI finds the cards of tasks."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dagster import MetadataValue

from metaflow_dagster.runtime.command import flow_file
from metaflow_dagster.runtime.settings import FlowSettings
from metaflow_dagster.runtime.store import Store, store_of
from metaflow_dagster.runtime.tasks import Task

CARD_DIRECTORY = "mf.cards"  # metaflow.metaflow_config.CARD_SUFFIX


@dataclass(frozen=True, eq=False)
class CardLinks:
    """The steps that have cards."""

    steps: Sequence[str]

    def links(self, flow: FlowSettings, task: Task) -> dict[str, Any]:
        """Where the cards of a task are, and the command that opens them in a browser."""
        paths = card_paths(flow, task) if task.step in self.steps else []
        if not paths:
            return {}
        command = shlex.join([sys.executable, flow_file(flow), "card", "view", str(task)])
        return {
            **{f"card {card_name(path)}": card_link(path) for path in paths},
            "view cards": MetadataValue.text(command),
        }


def card_paths(flow: FlowSettings, task: Task) -> list[str]:
    """The files of the cards of a task, or their addresses in a store."""
    from metaflow.plugins.cards.card_datastore import CardDatastore
    from metaflow.plugins.cards.exception import CardNotPresentException

    kind = store_of(flow).kind
    if kind == "local":
        # Metaflow looks for a local store from the working directory, wherever artifacts are.
        found = os.path.realpath(Store.near(flow_file(flow), kind).root)
        card_root = os.path.join(found, CARD_DIRECTORY)
    else:
        card_root = CardDatastore.get_storage_root(kind)
    stored = Store(kind, card_root).of_flow(flow.name)
    cards = CardDatastore(stored, pathspec=f"{flow.name}/{task}")
    try:
        return [cards.create_full_path(path) for path in cards.extract_card_paths()]
    except CardNotPresentException:
        return []


def card_name(path: str) -> str:
    """The type of a card and its id, if it has one, which its file is named by."""
    return os.path.basename(path).rpartition("-")[0]


def card_link(location: str) -> Any:
    """A file, or the address of an object in a store."""
    return MetadataValue.url(location) if "://" in location else MetadataValue.path(location)
