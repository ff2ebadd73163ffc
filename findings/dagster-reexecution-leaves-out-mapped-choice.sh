#!/usr/bin/env bash
# Dagster 1.13.27 re-executes a run from its failure without an op that is due, if the op is mapped and
# was skipped for another item.
#
# One item chooses an output and so skips what the other output leads to; another item fails before it
# chooses. Re-executed, it chooses the other output, and the op behind that is not run: which ops are to
# run is settled before, by whether any item at all has skipped them. The run is a success, without a
# word of what is missing. With that item alone nothing had been skipped yet, and the same op runs.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
mkdir "$directory/home"
printf 'telemetry:\n  enabled: false\n' > "$directory/home/dagster.yaml"
cat > "$directory/sorting.py" <<'PYTHON'
import os
import sys

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    Out,
    Output,
    ReexecutionOptions,
    execute_job,
    in_process_executor,
    job,
    op,
    reconstructable,
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@op(out=DynamicOut(int))
def letters():
    for number in range(int(os.environ["LETTERS"])):
        yield DynamicOutput(number, mapping_key=f"letter_{number}")


@op(out={"bill": Out(int, is_required=False), "advert": Out(int, is_required=False)})
def opened(number: int):
    is_last = number == int(os.environ["LETTERS"]) - 1
    if is_last and not os.path.exists("knife"):
        raise ValueError("no knife")
    yield Output(number, "bill" if is_last else "advert")


@op
def paid(number: int) -> int:
    return number


@op
def thrown_away(number: int) -> int:
    return number


@op
def tidied(bills: list, adverts: list):
    print("tidied up")


@job(executor_def=in_process_executor)
def post():
    bill, advert = letters().map(opened)
    tidied(bill.map(paid).collect(), advert.map(thrown_away).collect())


def started_again(number, instance):
    os.environ["LETTERS"] = str(number)
    if os.path.exists("knife"):
        os.remove("knife")
    with execute_job(reconstructable(post), instance, QUIET, raise_on_error=False) as result:
        failed = result.run_id
    open("knife", "w").close()
    again = ReexecutionOptions.from_failure(failed, instance)
    with execute_job(
        reconstructable(post), instance, QUIET, reexecution_options=again, raise_on_error=False
    ) as result:
        events = [one for one in result.all_events if one.is_step_event]
        return result.success, [
            one.step_key for one in events if one.event_type == DagsterEventType.STEP_START
        ]


if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        one, two = started_again(1, instance), started_again(2, instance)
    print(f"a single letter: {one}\ntwo letters: {two}")
    sys.exit(
        not (
            one == (True, ["opened[letter_0]", "paid[letter_0]"])
            and two == (True, ["opened[letter_1]", "tidied"])
        )
    )
PYTHON
cd "$directory"
DAGSTER_HOME="$directory/home" "$directory/venv/bin/python" sorting.py 2>/dev/null
