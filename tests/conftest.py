"""Makes the test process one without configuration, before anything imports Metaflow."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests import golden

golden.isolate()

_RUN_OF_CASE = re.compile(r"(tests/test_runs\.py)::\w+\[(\w+)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let the tests of one golden flow run in one worker, as they share its runs.

    Marks for `--dist loadgroup` do not do it: pytest 9.2 keeps the ids of tests where
    pytest-xdist 3.8 does not change them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByCase(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            match = _RUN_OF_CASE.match(nodeid)
            return "::".join(match.groups()) if match else nodeid

    return ByCase(config, log)
