#!/usr/bin/env bash
# The inputs of a join of Metaflow 2.19.39 come in another order from run to run: `inputs[0]` is now
# the one branch and now the other, of the same flow with the same data.
#
# The steps before the join are sorted when the graph is made, and then made a set again by the
# scheduler when it puts the inputs of the join together, so that their order is that of hashes of
# texts, which Python salts anew in each process. The same holds for a foreach in which a switch
# chooses between steps: its inputs are then not in the order of its items. Access by the name of a
# step is safe.
#
# Exits with 0 if that is still so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check metaflow==2.19.39
cat > "$directory/split.py" <<'PYTHON'
from metaflow import FlowSpec, step


class PaintFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.red, self.green, self.blue)

    @step
    def red(self):
        self.colour = "red"
        self.next(self.mix)

    @step
    def green(self):
        self.colour = "green"
        self.next(self.mix)

    @step
    def blue(self):
        self.colour = "blue"
        self.next(self.mix)

    @step
    def mix(self, inputs):
        print("mixed:", *[each.colour for each in inputs])
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    PaintFlow()
PYTHON
cat > "$directory/choice.py" <<'PYTHON'
from metaflow import FlowSpec, step


class SortFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = [0, 1, 2, 3]
        self.next(self.look, foreach="numbers")

    @step
    def look(self):
        self.kind = "odd" if self.input % 2 else "even"
        self.next({"odd": self.odd, "even": self.even}, condition="kind")

    @step
    def odd(self):
        self.number = self.input
        self.next(self.collect)

    @step
    def even(self):
        self.number = self.input
        self.next(self.collect)

    @step
    def collect(self, inputs):
        print("collected:", *[each.number for each in inputs])
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SortFlow()
PYTHON
cd "$directory"
orders() {
    for seed in 1 2 3 4 5 6 7 8; do
        HOME=$directory USERNAME=somebody PYTHONHASHSEED=$seed venv/bin/python "$1.py" --no-pylint run |
            grep -o "\(mixed\|collected\): .*"
    done | sort -u
}
orders split | tee split.txt
orders choice | tee choice.txt
[ "$(wc -l < split.txt)" -gt 1 ]
[ "$(cat choice.txt)" = "$(printf 'collected: 0 2 1 3\ncollected: 1 3 0 2')" ]
