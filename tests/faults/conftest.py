"""The Dagster that the tests of this directory share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.production import Production, production


@pytest.fixture(scope="session")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """A Dagster as in production, whose parts a test leaves running."""
    with production(tmp_path_factory.mktemp("production")) as found:
        yield found
