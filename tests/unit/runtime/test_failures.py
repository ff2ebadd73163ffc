from pathlib import Path

import pytest
from dagster import ExecuteInProcessResult, Failure, OpExecutionContext, RetryPolicy, job, op

from metaflow_dagster.runtime.failures import (
    DIGEST_LINES,
    StepError,
    final_failure,
    retry_request,
    step_error,
)

HEAD = "Traceback (most recent call last):\n"
METAFLOW = """\
  File "/site-packages/metaflow/cli.py", line 739, in main
    start(auto_envvar_prefix="METAFLOW", obj=state)
  File "/site-packages/metaflow/_vendor/click/core.py", line 829, in __call__
    return self.main(args, kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^
  File "/site-packages/metaflow/task.py", line 938, in run_step
    self._exec_step_function(step_func, orig_step_func)
  File "/site-packages/metaflow/task.py", line 113, in _exec_step_function
    step_function()
"""
USERS = """\
  File "/home/ann/metaflow/flow.py", line 4, in start
    return d["x"]
           ~^^^^^
  File "/site-packages/metaflow/flowspec.py", line 607, in __getattr__
    raise AttributeError
"""
REPORT = "warning: old\n<flow MyFlow step start> failed:\n    Internal error\n"
CHAINED = "\nThe above exception was the direct cause of the following exception:\n\n"
GROUP = "  + Exception Group Traceback (most recent call last):\n"


def in_group(text: str) -> str:
    return "".join(f"  | {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        pytest.param("", StepError(""), id="nothing"),
        pytest.param("a\nb", StepError("a\nb"), id="no report of Metaflow's"),
        pytest.param(
            REPORT + HEAD + METAFLOW + USERS + "KeyError: 'x'\n\n",
            StepError(HEAD + USERS + "KeyError: 'x'\n", "KeyError: 'x'"),
            id="exception",
        ),
        pytest.param(
            REPORT + HEAD + METAFLOW + "ValueError: two\n  lines\n",
            StepError(HEAD + "ValueError: two\n  lines", "ValueError: two"),
            id="raised by Metaflow itself, in two lines",
        ),
        pytest.param(
            REPORT + HEAD + USERS + "KeyError: 'x'\n" + CHAINED + HEAD + METAFLOW + USERS + "E: y",
            StepError(HEAD + USERS + "KeyError: 'x'\n" + CHAINED + HEAD + USERS + "E: y", "E: y"),
            id="one after the other",
        ),
        pytest.param(
            REPORT + GROUP + in_group(METAFLOW + USERS + "ExceptionGroup: two (1)") + "  | E: z",
            StepError(
                GROUP + in_group(USERS + "ExceptionGroup: two (1)") + "  | E: z",
                "ExceptionGroup: two (1)",
            ),
            id="group",
        ),
        pytest.param(
            "<flow MyFlow step start> failed:\n    Object not found:\n    Task('A') is not\n",
            StepError("Object not found:\nTask('A') is not"),
            id="Metaflow's own error",
        ),
        pytest.param(
            REPORT + HEAD + USERS + "E: first\n" + REPORT + "    No luck:\n    gone",
            StepError("Internal error\nNo luck:\ngone"),
            id="the last report counts",
        ),
    ],
)
def test_step_error(stderr: str, expected: StepError) -> None:
    error = step_error(stderr.split("\n"))
    assert StepError(error.text.strip("\n"), error.exception) == StepError(
        expected.text.strip("\n"), expected.exception
    )


@pytest.mark.parametrize(
    "report",
    [
        "<flow MyFlow step pick[0] (input: 1)> failed:",
        "<flow MyFlow step pick[1] (input: a\nb)> failed:",
        "<flow MyFlow step a > b> failed:",
    ],
)
def test_report_of_a_foreach(report: str) -> None:
    stderr = f"{report}\n    Internal error\n{HEAD}{METAFLOW}{USERS}KeyError: 'x'"
    assert step_error(stderr.split("\n")).text == f"{HEAD}{USERS}KeyError: 'x'"


def test_asterisks_of_the_source_are_shown(tmp_path: Path) -> None:
    lines = ["area = 2 * 3", "total = area(*sizes,", "             **kinds)"]
    (tmp_path / "flow.py").write_text("\n".join(lines))
    frames = "".join(
        f'  File "{tmp_path}/flow.py", line {number}, in f\n    {lines[number - 1]}\n    ~~^^\n'
        for number in (1, 2)
    )
    whole = f"{HEAD}{frames}    {lines[2].strip()}\n    ^^^^^\nValueError: bad"
    told = f"{REPORT}{whole.replace('*', '')}"
    assert step_error(told.split("\n")).text == whole


def test_of_other_output_the_end_is_shown() -> None:
    assert step_error(list(map(str, range(100)))).text.split("\n") == [
        str(index) for index in range(100 - DIGEST_LINES, 100)
    ]


ERROR = StepError(HEAD + USERS + "KeyError: 'x'", "KeyError: 'x'")


def result_of(policy: RetryPolicy | None, is_final: bool) -> ExecuteInProcessResult:
    """Run an op that fails in one of the two ways."""

    @op(retry_policy=policy)
    def fails(context: OpExecutionContext) -> None:
        request = retry_request(context, "It failed.", ERROR, {"attempt": context.retry_number})
        if is_final or request is None:
            raise final_failure("It failed.", ERROR, {"attempt": context.retry_number})
        raise request

    @job
    def failing() -> None:
        fails()

    return failing.execute_in_process(raise_on_error=False)


@pytest.mark.parametrize("policy", [None, RetryPolicy(max_retries=2)])
def test_final_failure_shows_the_error_of_the_step(policy: RetryPolicy | None) -> None:
    (event,) = result_of(policy, is_final=True).get_step_failure_events()
    data = event.step_failure_data
    assert data.error is not None
    assert data.error.message == "It failed.\nKeyError: 'x'\n"
    assert data.error.stack == [f"{ERROR.text}\n"]
    assert data.error.cause is None
    assert data.user_failure_data is not None
    assert data.user_failure_data.description == f"It failed.\n{ERROR.text}"
    assert data.user_failure_data.metadata["attempt"].value == 0


def test_retries_show_the_error_of_the_step() -> None:
    result = result_of(RetryPolicy(max_retries=2), is_final=False)
    retries = [event for event in result.all_events if event.is_step_up_for_retry]
    (failure,) = result.get_step_failure_events()
    assert len(retries) == 2
    for each in (
        *(retry.step_retry_data.error for retry in retries),
        failure.step_failure_data.error,
    ):
        assert each is not None
        assert each.cause is not None
        assert ERROR.text in each.cause.message
        assert each.cause.stack == []


def test_is_a_failure_of_dagsters_for_hooks_and_callers() -> None:
    failure = final_failure("It failed.")
    assert isinstance(failure, Failure)
    assert (str(failure), failure.description) == ("It failed.", "It failed.")
    assert failure.allow_retries is False
