#!/usr/bin/env bash
# Dagster 1.13.27 makes two asset keys of the same text: one of a specification, another of a
# materialization.
#
# `AssetSpec("sales.daily")`, `deps=["sales.daily"]` and `AssetKey("sales.daily")` are an asset whose key
# has one part, with a dot in it. `AssetMaterialization("sales.daily")` splits the text at whatever is no
# letter, digit or underscore, and records the asset of two parts. It raises nothing: the asset that is
# defined stays without a materialization, and another appears beside it.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27
mkdir "$directory/home"
printf 'telemetry:\n  enabled: false\n' > "$directory/home/dagster.yaml"
export DAGSTER_HOME=$directory/home
"$directory/venv/bin/python" - <<'PYTHON'
from dagster import AssetKey, AssetMaterialization, AssetSpec, DagsterInstance

NAME = "sales.daily"
defined = AssetSpec(NAME).key
with DagsterInstance.get() as instance:
    instance.report_runless_asset_event(AssetMaterialization(NAME))
    (recorded,) = instance.get_asset_keys()
    print("defined: ", defined.path)
    print("recorded:", recorded.path)
    assert defined.path == AssetKey(NAME).path == ["sales.daily"]
    assert recorded.path == ["sales", "daily"]
    assert instance.get_latest_materialization_event(defined) is None
PYTHON
