"""The code package of a flow, as Metaflow's deployers upload it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from metaflow.exception import MetaflowException
from metaflow.package import MetaflowPackage

from metaflow_dagster.diagnostics import CompileError, Diagnostic
from metaflow_dagster.frontend.session import Session
from metaflow_dagster.internals.metaflow import MetaflowReading
from metaflow_dagster.ir.flow import CodePackage

# metaflow/metaflow_environment.py: get_environment_info, metaflow/metaflow_git.py
_PASSING = {
    "branch_name",
    "commit_sha",
    "has_uncommitted_changes",
    "production_token",
    "repo_url",
    "username",
}


def pack_code(session: Session, is_left_out: Callable[[str], bool]) -> tuple[CodePackage, bytes]:
    """The package of a flow's code, and its content; nothing is stored.

    `is_left_out` says of the path of a file that it does not belong to the code. The same code
    makes the same package, whoever packs it.
    """
    state: Any = session.state
    with _started_as(session.flow_file):
        package = _Package(state, is_left_out)
        try:
            content = bytes(package.blob)
        except (MetaflowException, OSError) as error:
            raise CompileError([_not_packed(error)]) from error
    # metaflow/datastore/content_addressed_store.py: save_blobs
    sha = hashlib.sha1(content).hexdigest()
    return CodePackage(sha, package.package_metadata), content


def _not_packed(error: Exception) -> Diagnostic:
    return Diagnostic(
        f"The flow's code cannot be packed: {error}", "Fix the error above, or drop --package."
    )


@contextmanager
def _started_as(flow_file: str) -> Iterator[None]:
    """Let Metaflow see the command line of the flow, from which it knows what to pack."""
    before = sys.argv
    sys.argv = [flow_file, *before[1:]]
    try:
        yield
    finally:
        sys.argv = before


class _Package(MetaflowPackage):
    """A package without files that are made from it, and without what changes from day to day."""

    def __init__(self, state: Any, is_left_out: Callable[[str], bool]) -> None:
        self._is_left_out = is_left_out
        environment = _Anybody(state.environment)
        super().__init__(state.flow, environment, _say_nothing, suffixes=state.package_suffixes)

    def _user_code_tuples(self) -> Iterator[tuple[str, str]]:
        for path, name in MetaflowReading.user_files(super()):
            if not self._is_left_out(path):
                yield path, name


class _Anybody:
    """Metaflow's environment, which does not say who packs the code, and from which commit."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def get_environment_info(self, **options: Any) -> dict[str, Any]:
        """Metaflow's facts about the environment, without who packed the code and which commit."""
        info = self._environment.get_environment_info(**options)
        return {name: value for name, value in info.items() if name not in _PASSING}


def _say_nothing(*_: Any, **__: Any) -> None:
    """Take the place of the function by which Metaflow talks."""
