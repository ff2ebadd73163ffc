from __future__ import annotations

from typing import Any

import pytest

from metaflow_dagster.runtime.results import chosen_step


@pytest.mark.parametrize(
    ("transition", "step"),
    [
        pytest.param(None, "", id="none"),
        pytest.param(([], None), "", id="empty"),
        pytest.param((["a"], None), "a", id="as Metaflow stores it"),
        pytest.param((["a", "b"], None), "a", id="split"),
    ],
)
def test_chosen_step(transition: Any, step: str) -> None:
    assert chosen_step(transition) == step
