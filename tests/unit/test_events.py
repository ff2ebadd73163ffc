"""Names of events, and the keys of their assets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metaflow_dagster.events import asset_path, check_event_name


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("orders", ["orders"]),
        ("sales/orders", ["sales", "orders"]),
        ("metaflow.UpFlow.end", ["metaflow.UpFlow.end"]),
        ("mfns.shop.user.ann-2.data_ready", ["mfns.shop.user.ann-2.data_ready"]),
        ("../-/_", ["..", "-", "_"]),
    ],
)
def test_name(name: str, path: list[str]) -> None:
    check_event_name(name)
    assert asset_path(name) == path


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", "a b", "a\n", "ü", "a:b", "a*", "a?b=c", "a%2Fb", "\ud800"],
)
def test_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for an event") as caught:
        check_event_name(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, b"orders", ["orders"]])
def test_no_text(name: object) -> None:
    with pytest.raises(ValueError, match="is a text"):
        check_event_name(name)


def test_names_are_checked_without_metaflow() -> None:
    heavy = "{'dagster', 'libcst', 'metaflow'}"
    code = f"import sys, metaflow_dagster.events; print({heavy} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
