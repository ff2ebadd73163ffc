#!/usr/bin/env bash
# Dagster 1.13.27 refuses to backfill the outputs of one multi-asset if one of them depends on two others.
#
# Three assets with the same daily partitions come from one function that cannot be run in part. All of
# them are chosen, with the same partitions. If the third depends on the first alone, the backfill is
# accepted; if it depends on the first and the second, it is not, since "Targeted subset must match
# between every key": the partitions of the third are found once along each way and put together, and
# what comes out does not compare as equal to the same partitions found along one.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27 dagster-graphql==1.13.27
mkdir "$directory/home"
printf 'telemetry:\n  enabled: false\n' > "$directory/home/dagster.yaml"
cat > "$directory/kitchen.py" <<'PYTHON'
import os

from dagster import AssetKey, AssetOut, DailyPartitionsDefinition, Definitions, multi_asset

BEFORE_CAKE = {AssetKey(name) for name in os.environ["BEFORE_CAKE"].split()}


@multi_asset(
    outs={name: AssetOut() for name in ("dough", "icing", "cake")},
    internal_asset_deps={"dough": set(), "icing": set(), "cake": BEFORE_CAKE},
    partitions_def=DailyPartitionsDefinition("2026-01-01"),
)
def baked():
    return 1, 2, 3


defs = Definitions(assets=[baked])
PYTHON
cat > "$directory/backfill.py" <<'PYTHON'
import sys

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

BACKFILL = """
mutation ($assets: [AssetKeyInput!], $days: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $days}) {
    __typename ... on PythonError { message }
  }
}
"""
assets = [{"path": [name]} for name in ("dough", "icing", "cake")]
days = ["2026-01-05", "2026-01-06"]
target = PythonFileTarget(sys.argv[1], None, None, None)
with DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:
    request = workspace.create_request_context()
    answer = execute_dagster_graphql(request, BACKFILL, {"assets": assets, "days": days})
    launched = answer.data["launchPartitionBackfill"]
    with open(sys.argv[2], "w") as answer:
        print(launched["__typename"], launched.get("message", "").partition(",")[0], file=answer)
PYTHON
export DAGSTER_HOME=$directory/home
answer() {
    BEFORE_CAKE=$1 "$directory/venv/bin/python" "$directory/backfill.py" "$directory/kitchen.py" \
        "$directory/answer" > "$directory/log" 2>&1
    cat "$directory/answer"
}
one=$(answer "dough")
two=$(answer "dough icing")
echo "after dough:           $one"
echo "after dough and icing: $two"
[[ $one == LaunchBackfillSuccess* ]]
[[ $two == *"Targeted subset must match between every key in a non-subsettable multi-asset" ]]
