"""Work in a forked process, with all that the caller has and without leaving anything behind.

Metaflow, and extensions more so, keep state in classes and modules, which the reading of a flow
leaves to the next. A child process has the caller's objects, a class of `__main__` or of a notebook
included, and takes with it what it has changed.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Generic, NoReturn, TypeVar

Result = TypeVar("Result")

_LENGTH = 8  # bytes of a message that say how long the rest is


class ChildLost(RuntimeError):
    """The child has ended without a result."""


class ErrorInChild(Exception):
    """Where in the child an error was raised: its text is the traceback there."""


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Result]):
    """The outcome of a child process: a result, or an error and its traceback; and its output."""

    result: Result | None
    error: BaseException | None
    traced: str
    output: str
    errors: str


def can_fork() -> bool:
    """Whether a child can go on with what its parent has; macOS' own libraries do not let it."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def in_child(work: Callable[[], Result]) -> Result:
    """Call a function in a forked process; return or raise its outcome here, and print its output.

    A result has to be one that can be pickled; of an error that cannot, there is the text.

    Raises
    ------
    ChildLost
        If the process was killed.
    """
    outcome = _forked(work)
    print(outcome.output, end="", flush=True)
    print(outcome.errors, end="", file=sys.stderr, flush=True)
    if outcome.error is not None:
        raise outcome.error from ErrorInChild(outcome.traced)
    return outcome.result  # type: ignore[return-value]  # which may be None


def _forked(work: Callable[[], Result]) -> _Outcome[Result]:
    reading, writing = os.pipe()
    child = _fork()
    if child == 0:
        os.close(reading)
        _become_child(work, writing)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            message = _message(pipe)
    except BaseException:  # a key that interrupts this is passed on, and must not leave the child
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = _status(child)
    if message is None:
        raise ChildLost(f"The process that compiles the flow has ended without a word ({status}).")
    outcome: _Outcome[Result] = pickle.loads(message)
    return outcome


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Of threads, which a notebook has. They are not in the child, which takes none of their
        # locks: Python and its logging make theirs anew, and output goes to memory.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _message(pipe: BinaryIO) -> bytes | None:
    """The child's message; not read up to the end, as its own children may keep the pipe open."""
    head = pipe.read(_LENGTH)
    length = int.from_bytes(head, "big")
    message = pipe.read(length)
    return message if len(head) == _LENGTH and len(message) == length else None


def _status(child: int) -> str:
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # somebody else collects the children of this process
        return "its exit code is not known"
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _become_child(work: Callable[[], Result], writing: int) -> NoReturn:
    """Do the work and end, without anything that the parent would do at its end."""
    try:
        message = _serialized(_outcome_of(work))
        with open(writing, "wb") as pipe:
            pipe.write(len(message).to_bytes(_LENGTH, "big") + message)
    finally:
        os._exit(0)


def _outcome_of(work: Callable[[], Result]) -> _Outcome[Result]:
    output, errors = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = output, errors
    result, error, traced = None, None, ""
    try:
        result = work()
    except BaseException as raised:  # it is raised again, in the parent
        error, traced = raised, traceback.format_exc()
    return _Outcome(result, error, f"\n{traced}", output.getvalue(), errors.getvalue())


def _serialized(outcome: _Outcome[Result]) -> bytes:
    try:
        message = pickle.dumps(outcome)
        pickle.loads(message)  # which errors that want arguments of their own do not let
    except Exception as failure:  # classes say themselves how they are pickled
        error = outcome.error or failure
        text = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps(_Outcome(None, text, outcome.traced, outcome.output, outcome.errors))
    return message
