#!/usr/bin/env bash
# Dagster 1.13.27 refuses to re-execute a run from its failure if an op with a dynamic output was
# skipped and two ops, one after the other, were to be mapped over it. With a single mapped op it works.
#
# Skipped ops are recorded as such, but the ops mapped over them never are. When the state of the
# earlier run is derived from its events, the first mapped op is passed over since what it depends on
# was skipped; the second depends on an op of which no event tells, so it is taken for one that is
# still to run, and then cannot be resolved: DagsterInvariantViolationError, "Unresolved ExecutionStep".
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
mkdir "$directory/home"
printf 'telemetry:\n  enabled: false\n' > "$directory/home/dagster.yaml"
cat > "$directory/jobs.py" <<'PYTHON'
import os
import sys

from dagster import (
    DagsterInstance,
    DagsterInvariantViolationError,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    Out,
    Output,
    ReexecutionOptions,
    execute_job,
    job,
    op,
    reconstructable,
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@op(out={"chosen": Out(str, is_required=False), "other": Out(str, is_required=False)})
def choose():
    yield Output("x", "chosen")


@op(out=DynamicOut(str))
def items(given: str):
    yield DynamicOutput(given, mapping_key="a")


@op
def first(item: str) -> str:
    return item


@op
def second(item: str) -> str:
    return item


@op
def gathered(results: list):
    return None


@op(ins={"given": In(str)}, out=Out(Nothing))
def last(given: str):
    if not os.path.exists("go"):
        raise ValueError("not yet")


@job
def one_mapped_op():
    chosen, other = choose()
    gathered(items(other).map(first).collect())
    last(chosen)


@job
def two_mapped_ops():
    chosen, other = choose()
    gathered(items(other).map(lambda item: second(first(item))).collect())
    last(chosen)


def outcome(definition, instance):
    if os.path.exists("go"):
        os.remove("go")
    with execute_job(
        reconstructable(definition), instance, QUIET, raise_on_error=False
    ) as result:
        failed = result.run_id
    open("go", "w").close()
    try:
        again = ReexecutionOptions.from_failure(failed, instance)
        with execute_job(
            reconstructable(definition), instance, QUIET, reexecution_options=again
        ) as result:
            return f"success: {result.success}"
    except DagsterInvariantViolationError as error:
        return str(error)


if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        one, two = outcome(one_mapped_op, instance), outcome(two_mapped_ops, instance)
    print(f"one mapped op: {one}\ntwo mapped ops: {two}")
    sys.exit(not (one == "success: True" and 'ExecutionStep "second[?]" is resolved by' in two))
PYTHON
cd "$directory"
DAGSTER_HOME="$directory/home" "$directory/venv/bin/python" jobs.py 2>/dev/null
