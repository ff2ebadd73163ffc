#!/usr/bin/env bash
# An extension of Metaflow 2.19.39 vanishes without a word when another one is installed beside it, if
# its wheel has no top_level.txt, which is optional metadata that only setuptools writes.
#
# metaflow-profiler 0.1.0 has none. Alone it is loaded, from a scan of the directories on Python's
# path. metaflow-checkpoint 0.2.14 has the file; once it is there as well, the directory in which both
# lie counts as done, and the step decorator of the first is not known any more. Adding the file to the
# first brings it back.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
install() {
    "$directory/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}
extensions() {
    (cd "$directory" && HOME=$directory USERNAME=somebody venv/bin/python - <<'PYTHON'
from metaflow.extension_support import package_mfext_all_descriptions
found = {file.split("/")[0] for one in package_mfext_all_descriptions().values() for file in one["files"]}
print(" ".join(sorted(found)) or "none")
PYTHON
    )
}
install metaflow==2.19.39
install --no-deps metaflow-profiler==0.1.0
alone=$(extensions)
install --no-deps metaflow-checkpoint==0.2.14
beside=$(extensions)
described=$(echo "$directory"/venv/lib/python3*/site-packages/metaflow_profiler-0.1.0.dist-info)
echo metaflow_extensions > "$described/top_level.txt"
with_file=$(extensions)
echo "alone: $alone"
echo "beside another extension: $beside"
echo "with top_level.txt: $with_file"
[ "$alone" = profiler ] && [ "$beside" = obcheckpoint ] && [ "$with_file" = "obcheckpoint profiler" ]
