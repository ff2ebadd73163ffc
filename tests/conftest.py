"""Makes the test process one without configuration, before anything imports Metaflow."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import golden
from tests.services.s3 import S3, s3_server

golden.isolate()

# What a script starts in the background ignores this signal, and so does all that it starts itself.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes, or its making, depends on what else the machine does. The examples are
# the same everywhere, so that a change fails where it is made; those of the deep profile are new.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("deep", settings.get_profile("same"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Tests that share what is dear to make: the runs of one flow, an installed wheel, a server.
_TOGETHER = re.compile(
    r"(tests/test_(?:runs|backends|remote)\.py)::\w+\[(\w+)|"
    r"(tests/test_(?:browser|celery|deployer|docker|events|examples|faults|hostile|k8s|many)\.py)::|"
    r"(tests/test_(?:operate|packaging|publish|resume|warm)\.py|tests/docs/test_site\.py)::|"
    r"(tests/faults)/test_(?:dagster|production)\.py::"
)


@pytest.fixture(scope="session", autouse=True)
def _store_above_all_directories(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let Metaflow find a datastore above every temporary directory, on every machine.

    Where it finds none, each of its commands creates one in the working directory.
    """
    (tmp_path_factory.getbasetemp() / ".metaflow").mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server, with an empty bucket."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let tests that share what is dear to make run in one worker.

    Marks for `--dist loadgroup` do not do it: pytest 9.2 keeps the ids of tests where
    pytest-xdist 3.8 does not change them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            match = _TOGETHER.match(nodeid)
            return "::".join(filter(None, match.groups())) if match else nodeid

    return Together(config, log)
