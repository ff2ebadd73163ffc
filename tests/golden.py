"""The golden files: which flow is compiled with which options into which file.

    python tests/golden.py          lists the files that are not as compiled; exits 1 if any is
    python tests/golden.py --write  writes them

They are the same on every machine: they are compiled without anyone's Metaflow configuration.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
FLOWS = FIXTURES / "flows"
SHAPES = FIXTURES / "shapes"
GOLDEN = FIXTURES / "golden"

# Metaflow's branch of a `@project` flow names the user, so there is one of that name everywhere.
USER = "tester"


@dataclass(frozen=True)
class Case:
    """A flow file, the class in it, the options it is compiled with and what its runs are given."""

    flow: str
    class_name: str
    variant: str = ""  # sets apart the files of one flow
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    directory: Path = FLOWS

    def __str__(self) -> str:
        return f"{self.flow}_{self.variant}" if self.variant else self.flow

    @property
    def all_options(self) -> Mapping[str, Any]:
        """The options with the runtime, which most files import: so they hold what is their own."""
        return {"runtime": "installed", **self.options}

    @property
    def flow_file(self) -> str:
        return f"{self.flow}.py"

    @property
    def output(self) -> str:
        return f"{self}_dagster.py"

    def command_line_options(self) -> Iterator[str]:
        """The options as the command line takes them."""
        for name, value in self.all_options.items():
            option = f"--{_OPTION_NAMES.get(name, name.replace('_', '-'))}"
            match value:
                case True:
                    yield option
                case False:
                    yield option.replace("--", "--no-", 1)
                case str() | int():
                    yield f"{option}={value}"
                case _:
                    yield from (f"{option}={each}" for each in value)


_OPTION_NAMES = {
    "tags": "tag",
    "decospecs": "with",
    "pools": "pool",
    "fresh_steps": "fresh-step",
    "partitions": "partition",
    "owners": "owner",
    "assets": "asset",
    "checks": "check-artifact",
    "as_assets": "assets",
}

FLOW_CASES = (
    Case("linear", "LinearFlow"),
    Case(
        "linear",
        "LinearFlow",
        "options",
        {
            "name": "nightly_linear",
            "tags": ("team:search", 'it\'s a "tag" ✓'),
            "namespace": "production",
            "workflow_timeout": 3600,
            "max_workers": 2,
            "executor": "multiprocess",
        },
    ),
    Case("branches", "BranchesFlow"),
    Case("branches", "BranchesFlow", "with", {"decospecs": ("retry:times=2", "resources:cpu=1")}),
    Case("nested_branches", "NestedBranchesFlow"),
    Case("foreach", "ForeachFlow"),
    Case("foreach_steps", "ForeachStepsFlow"),
    Case("foreach_twice", "ForeachTwiceFlow"),
    Case("foreach_in_branch", "ForeachInBranchFlow"),
    Case("foreach_in_branch", "ForeachInBranchFlow", "limited", {"max_workers": 1}),
    Case("params", "ParamsFlow"),
    Case(
        "required_params",
        "RequiredParamsFlow",
        parameters={
            "city": "Ulm & 'Köln'",
            "days": 3,
            "price": 1.5,
            "alone": False,
            "stops": ["a", "b"],
            "notes": "data/table.csv",
        },
    ),
    Case("awkward_params", "AwkwardParamsFlow"),
    Case("awkward_steps", "AwkwardStepsFlow"),
    Case("class_config", "Config"),
    Case("class_job", "job"),
    Case("class_definitions", "Definitions"),
    Case("retries", "RetriesFlow"),
    Case("environment_vars", "EnvironmentVarsFlow"),
    Case("named_ends", "NamedEndsFlow"),
    Case("single_step", "SingleStepFlow"),
    Case("inherited", "InheritedFlow"),
    Case("cards", "CardsFlow"),
    Case("docstrings", "DocstringsFlow"),
    Case("projects", "ProjectsFlow"),
    Case("orders", "OrdersFlow", options={"notify_on_error": True, "notify_on_success": True}),
    Case("after_orders", "AfterOrdersFlow"),
)


def class_run_by(file: Path) -> str | None:
    """The flow class that a file runs, if it runs one."""
    match ast.parse(file.read_text(encoding="utf-8")).body[-1]:
        case ast.If(body=[ast.Expr(ast.Call(func=ast.Name(id=class_name)))]):
            return class_name
        case _:
            return None


SHAPE_CASES = tuple(
    Case(file.stem, class_name, directory=SHAPES)
    for file in sorted(SHAPES.glob("*.py"))
    if (class_name := class_run_by(file))
)


def fresh(case: Case) -> Case:
    """The same flow, each step starting a Python of its own in threads of the run's process.

    It imports the runtime from a file beside it.
    """
    options = {name: value for name, value in case.options.items() if name != "executor"}
    variant = "_".join(filter(None, [case.variant, "fresh"]))
    own = {"warm_steps": False, "runtime": "shared"}
    return replace(case, variant=variant, options={**options, **own})


# Not among those that are run: some of them are run fresh, too.
FRESH_CASE = Case("linear", "LinearFlow", "fresh", {"name": "fresh_linear", "warm_steps": False})

# Nor are these, which hold the runtime: random flows that do are run.
INLINE_CASES = (
    Case("linear", "LinearFlow", "inline", {"name": "inline_linear", "runtime": "inline"}),
    Case(
        "orders",
        "OrdersFlow",
        "inline",
        {
            "name": "inline_orders",
            "runtime": "inline",
            "fresh_steps": ("start",),
            "notify_on_error": True,
            "notify_on_success": True,
        },
    ),
)

# Nor are these, whose assets are others than those of the flow without options: flows like them are
# run by tests/test_assets.py, test_partitions.py and test_graph_assets.py.
_ASSET_OPTIONS = {
    "partitions": ("day=daily:2025-01-01",),
    "assets": ("join.forecasts=sales/forecasts", "forecast.level"),
    "checks": ("join.last_day is not None; blocking",),
    "owners": ("team:sales",),
    "upstream": ("warehouse/sales",),
}
ASSET_CASES = (
    Case("forecast", "ForecastFlow", "partitioned", _ASSET_OPTIONS),
    Case(
        "forecast",
        "ForecastFlow",
        "assets",
        {**_ASSET_OPTIONS, "as_assets": True, "automation": "eager"},
    ),
)

# Nor is this one: it needs a cluster.
POD_CASE = Case(
    "trained",
    "TrainedFlow",
    "pods",
    {
        "tags": ("team:search", "nightly"),
        "max_workers": 4,
        "executor": "k8s",
        "pools": ("cluster", "train=gpus"),
        "workflow_priority": 5,
    },
)

# Nor are these, whose runs depend on each other and on files; tests/test_examples.py runs them.
EXAMPLE_CASES = (
    Case("wine_search", "WineSearchFlow"),
    Case("sales_etl", "SalesEtlFlow"),
    Case("forecast", "ForecastFlow"),
    Case("forecast_report", "ForecastReportFlow"),
)

CASES = (
    *FLOW_CASES,
    FRESH_CASE,
    *INLINE_CASES,
    *ASSET_CASES,
    POD_CASE,
    *EXAMPLE_CASES,
    *SHAPE_CASES,
)


def isolate() -> None:
    """Free this process, and what it starts, of configuration; to call before Metaflow's import."""
    home = tempfile.mkdtemp(prefix="metaflow-dagster-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    for variable in [name for name in os.environ if name.startswith(("METAFLOW_", "DAGSTER_"))]:
        del os.environ[variable]
    os.environ.update(
        HOME=home,
        METAFLOW_HOME=f"{home}/.metaflowconfig",
        METAFLOW_CLIENT_CACHE_PATH=f"{home}/metaflow-cache",
        METAFLOW_USER=USER,
        DAGSTER_DISABLE_TELEMETRY="yes",
    )


def flow_class(case: Case) -> type:
    """The flow, imported as a library would."""
    if str(case.directory) not in sys.path:
        sys.path.insert(0, str(case.directory))
    flow: type = getattr(importlib.import_module(case.flow), case.class_name)
    return flow


def compiled(case: Case) -> str:
    """The text that the golden file should hold."""
    from metaflow_dagster import synthesize

    return synthesize(flow_class(case), output=GOLDEN / case.output, **case.all_options)


def stale(case: Case) -> bool:
    """Whether the golden file is missing or holds another text."""
    file = GOLDEN / case.output
    return not file.exists() or file.read_bytes() != compiled(case).encode()


def orphans() -> set[str]:
    """Golden files that belong to no case."""
    return {file.name for file in GOLDEN.glob("*.py")} - {case.output for case in CASES}


def write() -> None:
    """Write every golden file and remove those that belong to no case."""
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / case.output).write_bytes(compiled(case).encode())
    for name in orphans():
        (GOLDEN / name).unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the golden files, or write them.")
    parser.add_argument("--write", action="store_true", help="write them")
    if parser.parse_args().write:
        write()
        return 0
    found = [case.output for case in CASES if stale(case)] + sorted(orphans())
    for name in found:
        print(f"fixtures/golden/{name} is not as compiled")
    return 1 if found else 0


if __name__ == "__main__":
    isolate()
    sys.exit(main())
