"""Python imports this when it starts, where it is on the path: a forked process does not."""

import json
import os
import sys

with open(os.environ["WITNESS_FILE"], "a") as file:
    file.write(f"{json.dumps(sys.orig_argv)}\n")
