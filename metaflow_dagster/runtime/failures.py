"""The failure of a step as Dagster shows it: the user's error, not the stack of the op."""

import linecache
import pickle
import re
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dagster import Failure, OpExecutionContext, RetryRequested

from metaflow_dagster.internals.execution import DagsterErrors
from metaflow_dagster.runtime.tasks import Task

ERROR_LINES = 200  # in which an error is looked for, and how many are shown of one
DIGEST_LINES = 20
# metaflow/task.py: run_step; of a foreach, the step has its input in it, which may go over lines.
METAFLOW_REPORTS = re.compile(r"<flow \S+ step .*> failed:|.*\)> failed:")
TRACEBACK = re.compile(r"[\s+|]*(Exception Group )?Traceback \(most recent call last\):")
FRAME = re.compile(r'[\s|]*File "(?P<file>.+)", line (?P<line>\d+)')
CALL_OF_STEP = re.compile(r'[\s|]*File ".*[/\\]metaflow[/\\]task\.py", line \d+, in _?\w+_step')
# The errors of reading and unpickling something that is damaged (the pickle module's page).
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zlib.error,
)


@dataclass(frozen=True)
class StepError:
    """The output of a failed step, and its line that names an exception, if there is one."""

    text: str
    exception: str = ""


def step_error(lines: Sequence[str]) -> StepError:
    """The error in the last lines that the process of a step has written."""
    reports = [index for index, line in enumerate(lines) if METAFLOW_REPORTS.fullmatch(line)]
    if not reports:
        return StepError("\n".join(lines[-DIGEST_LINES:]))
    report = lines[reports[-1] + 1 :]
    begin = next((index for index, line in enumerate(report) if TRACEBACK.match(line)), None)
    if begin is None:
        return StepError(textwrap.dedent("\n".join(report)).strip())
    traceback = with_asterisks(without_metaflow(report[begin:]))
    return StepError("\n".join(traceback), exception_line(traceback))


def without_metaflow(traceback: Sequence[str]) -> list[str]:
    """A traceback without the frames by which Metaflow has called the step."""
    shown: list[str] = []
    begin = margin = 0
    in_call = False
    for line in traceback:
        if TRACEBACK.match(line):
            begin, margin = len(shown) + 1, indentation(line)
        elif CALL_OF_STEP.match(line):
            del shown[begin:]
            in_call = True
            continue
        elif in_call and not FRAME.match(line) and indentation(line) > margin:
            continue
        in_call = False
        shown.append(line)
    return shown


def with_asterisks(traceback: Sequence[str]) -> list[str]:
    """A traceback with the lines of the source as they are.

    Metaflow has taken their asterisks for marks of bold text (metaflow/cli.py: echo_always).
    """
    shown: list[str] = []
    file, number = "", 0
    for line in traceback:
        if frame := FRAME.match(line):
            file, number = frame["file"], int(frame["line"])
        margin = line[: indentation(line)]
        source = linecache.getline(file, number).strip() if file else ""
        if "*" in source and line == margin + source.replace("*", ""):
            line, number = margin + source, number + 1
        shown.append(line)
    return shown


def exception_line(traceback: Sequence[str]) -> str:
    """The line that names the exception: of several, each raised by the one before, the last."""
    heads = [index for index, line in enumerate(traceback) if TRACEBACK.match(line)]
    groups = [index for index in heads if "Exception Group" in traceback[index]]
    head = min(groups) if groups else max(heads)
    margin = indentation(traceback[head])
    after = (line for line in traceback[head + 1 :] if indentation(line) <= margin)
    return next(after, "").strip(" +|")


def indentation(line: str) -> int:
    """How far the text of a line is from its beginning, the frame around groups included."""
    return len(line) - len(line.lstrip(" \t+|"))


def final_failure(
    description: str, error: StepError | None = None, metadata: Mapping[str, Any] | None = None
) -> Failure:
    """A failure that no retry follows, shown with the error of a step if there is one."""
    message = f"{description}\n{error.text}" if error else description
    failure = Failure(message, metadata=metadata, allow_retries=False)
    try:
        shown_as: Any = DagsterErrors.of_process.get()
    except (ImportError, AttributeError):
        return failure  # a Dagster to come, which may show the stack of the op, too

    class StepFailure(Failure, shown_as):  # type: ignore[misc, unused-ignore]
        """As of an error in another process, Dagster shows what that says and not its own stack.

        dagster/_utils/error.py: serializable_error_info_from_exc_info
        """

        def __init__(self) -> None:
            Exception.__init__(self, message)
            self.__dict__.update(vars(failure))
            shown, stack = message, []
            if error and error.exception:
                shown, stack = f"{description}\n{error.exception}", [f"{error.text}\n"]
            info = DagsterErrors.info(f"{shown}\n", stack, Failure.__name__)
            self.user_code_process_error_infos = [info]

    return StepFailure()


def retry_request(
    context: OpExecutionContext, description: str, error: StepError, metadata: Mapping[str, Any]
) -> RetryRequested | None:
    """The request to retry an op, if it has a retry policy, with the error of the step.

    Dagster would ask for it by itself, but with the stack of the op.
    """
    policy = context.op_def.retry_policy
    if policy is None:
        return None
    request = RetryRequested(policy.max_retries, policy.calculate_delay(context.retry_number + 1))
    request.__cause__ = Failure(f"{description}\n{error.text}", metadata=metadata)
    return request


@contextmanager
def readable(task: Task) -> Iterator[None]:
    """`dagster.Failure` if what Metaflow has stored of a task cannot be read."""
    try:
        yield
    except UNREADABLE as error:
        raise Failure(
            f"What Metaflow has stored of task {task} cannot be read ({type(error).__name__}: "
            f"{error}). If it is damaged, run the job anew."
        ) from error
