#!/usr/bin/env bash
# `resume` of Metaflow 2.19.39 runs a task again that has succeeded: the first repetition of a recursive
# step that follows another recursive step directly.
#
# The scheduler leaves the loop of the first step and does not enter that of the second when it looks for
# the task in the earlier run, so it does not find it. Later repetitions are found, and so is the first one
# if any step stands between the two.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check metaflow==2.19.39
cat > "$directory/chairs.py" <<'PYTHON'
import os

from metaflow import FlowSpec, step


def note(text):
    with open("ran.txt", "a") as file:
        print(text, file=file)


class ChairsFlow(FlowSpec):
    @step
    def start(self):
        self.sawn = self.painted = 0
        self.next(self.saw)

    @step
    def saw(self):
        self.sawn += 1
        note(f"saw {self.sawn}")
        self.state = "more" if self.sawn < 2 else "done"
        self.next({"more": self.saw, "done": self.paint}, condition="state")

    @step
    def paint(self):
        self.painted += 1
        note(f"paint {self.painted}")
        self.state = "more" if self.painted < 2 else "done"
        self.next({"more": self.paint, "done": self.end}, condition="state")

    @step
    def end(self):
        if not os.path.exists("buyer"):
            raise ValueError("nobody buys them")


if __name__ == "__main__":
    ChairsFlow()
PYTHON
sed 's/"done": self.paint}/"done": self.dry}/; s/    def paint(self):/    def dry(self):\n        self.next(self.paint)\n\n    @step\n    def paint(self):/' \
    "$directory/chairs.py" > "$directory/dried_chairs.py"
cd "$directory"
again() {
    rm -f buyer ran.txt
    HOME=$directory USERNAME=somebody venv/bin/python "$1.py" --no-pylint run > /dev/null 2>&1 || true
    touch buyer ran.txt
    echo resumed >> ran.txt
    HOME=$directory USERNAME=somebody venv/bin/python "$1.py" --no-pylint resume > /dev/null 2>&1
    sed '1,/resumed/d' ran.txt
}
plain=$(again chairs)
dried=$(again dried_chairs)
echo "run again: ${plain:-nothing}"
echo "run again, with a step between: ${dried:-nothing}"
[ "$plain" = "paint 1" ] && [ -z "$dried" ]
