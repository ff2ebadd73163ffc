from __future__ import annotations

import os
from pathlib import Path

import pytest
from dagster import Failure

from metaflow_dagster.runtime.flow_code import claim_directory


def test_directory_is_made_for_oneself(tmp_path: Path) -> None:
    for _ in range(2):
        claim_directory(tmp_path / "own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_directory_that_others_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(Failure) as refusal:
        claim_directory(tmp_path / "open")
    assert "Others can write to" in str(refusal.value.description)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to somebody else")
def test_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    (tmp_path / "link").symlink_to("theirs")
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    for name in ("theirs", "link"):
        with pytest.raises(Failure):
            claim_directory(tmp_path / name)


def test_link_of_ones_own_is_refused(tmp_path: Path) -> None:
    # Its permissions are those of all links, and say nothing of what it leads to.
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Failure):
        claim_directory(tmp_path / "link")
