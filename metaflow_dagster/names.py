"""The owner of names: what Dagster and Python allow, and who has taken what.

Users name flows, steps and parameters as Metaflow allows it. Dagster refuses some of those names
and a Python module has room for each name once, so every identifier of a generated file comes
from a `Scope`, which gives the wished name or the nearest one that is free.
"""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Container, Iterable
from typing import Final

OP_PREFIX: Final = "op_"  # node of a step in the job graph
BRANCH_PREFIX: Final = "to_"  # output to a step whose name Dagster refuses for an output
INPUT_PREFIX: Final = "from_"  # input from a step whose name Dagster refuses for an input

_DAGSTER_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_RUN_ID: Final = re.compile(r"dagster-\w{1,100}")  # as in runtime/history.py

# DISALLOWED_NAMES in dagster/_core/definitions/utils.py, without the Python keywords.
DAGSTER_RESERVED: Final = frozenset(
    {
        "context",
        "conf",
        "config",
        "meta",
        "arg_dict",
        "dict",
        "input_arg_dict",
        "output_arg_dict",
        "int",
        "str",
        "float",
        "bool",
        "input",
        "output",
        "type",
    }
)

# The names in the bodies of ops, which no input of theirs may have (emit/op.py).
OP_BODY_NAMES: Final = frozenset(
    {
        "FLOW",
        "artifact_outputs",
        "check_artifacts",
        "end_output",
        "fanned_out",
        "flat",
        "foreach_list",
        "foreach_options",
        "foreach_outputs",
        "given_parameters",
        "given_values",
        "items_output",
        "nodes_output",
        "os",
        "publish_artifacts",
        "publish_end",
        "publish_items",
        "regrouped",
        "run_parallel_step",
        "run_recursive_step",
        "run_step",
        "split_outputs",
        "start_run",
        "switch_output",
        "task_output",
    }
)


def is_dagster_name(text: str) -> bool:
    """Whether Dagster takes the text as the name of a job, op, input or output."""
    return (
        _DAGSTER_NAME.fullmatch(text) is not None
        and text not in DAGSTER_RESERVED
        and not keyword.iskeyword(text)
    )


def is_run_id(text: str) -> bool:
    """Whether the text can be the id of a Metaflow run that Dagster has made."""
    return _RUN_ID.fullmatch(text) is not None


def ascii_name(text: str) -> str:
    """The text with every character that Dagster refuses in a name spelled as its code point."""
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"_u{ord(match[0]):04x}_", text)


def project_job_name(project_flow_name: str) -> str:
    """The job of a flow in a project, which Metaflow calls `project.branch.Flow`.

    Whatever Dagster refuses becomes an underscore, so that several flows could come to one name.
    The one that the name is read as has it: `ads_test_fix_TrainFlow` is `ads.test.fix.TrainFlow`.
    The others, such as flows of the user `ann.smith`, whom `ann_smith` is not, get a hash as well.
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", project_flow_name)
    if _read_project_job(plain) == project_flow_name:
        return plain
    digest = hashlib.sha1(project_flow_name.encode(errors="surrogatepass")).hexdigest()
    return f"{plain}_{digest[:8]}"


def _read_project_job(name: str) -> str | None:
    """The flow that one takes a name like `project_branch_Flow` for.

    Branches are what metaflow/plugins/project_decorator.py makes of its options: `prod`, or `prod`,
    `test` or `user` with a dot and more.
    """
    match = re.fullmatch(r"(.+?)_(prod|(?:prod|test|user)_.+?)_([A-Z].*|[^_]+)", name)
    if match is None:
        return None
    project, branch, flow = match.groups()
    return ".".join((project, branch.replace("_", ".", 1), flow))


class Scope:
    """The identifiers of one namespace: a module, a function body, the ops of a job."""

    def __init__(self, taken: Iterable[str] = (), around: Container[str] = ()) -> None:
        self._taken = set(taken)
        self._around = around

    def __contains__(self, name: object) -> bool:
        return name in self._taken or name in self._around

    def claim(self, wish: str) -> str:
        """Take the wished name, or with underscores appended until it is legal and free."""
        name = wish if wish.isidentifier() else f"_{wish}"
        while name in self or keyword.iskeyword(name):
            name += "_"
        self._taken.add(name)
        return name

    def inner(self) -> Scope:
        """A scope inside this one, where taking a name does not take it here."""
        return Scope(around=self)
