"""Which module may import what, and how long things may be."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaflow_dagster
from metaflow_dagster.cli import dagster

PACKAGE = Path(metaflow_dagster.__file__).parent
OWN = "metaflow_dagster"

UNMAPPED = ("__init__", "version")  # parts that are no part of the map

# What of the runtime needs no Dagster.
PLAIN_RUNTIME = {
    f"{OWN}.runtime.{each}" for each in ("command", "identities", "settings", "store", "tasks")
}

# What a part may import next to the standard library and itself, by prefix.
ALLOWED = {
    "__init__": {
        f"{OWN}.{each}" for each in ("compiler", "components", "diagnostics", "operate", "version")
    },
    "version": set(),
    "ir": set(),
    "internals": set(),  # nothing but what is asked for
    "names": set(),
    "shell": set(),
    "diagnostics": {f"{OWN}.ir"},
    "events": set(),
    "executors": set(),
    "options": {f"{OWN}.executors"},
    "option_checks": {f"{OWN}.{each}" for each in ("diagnostics", "executors", "names", "options")},
    "automation": {f"{OWN}.diagnostics", f"{OWN}.ir"},
    # Dagster says which partitions it takes.
    "partitions": {"dagster", *(f"{OWN}.{each}" for each in ("diagnostics", "internals", "ir"))},
    "assets": {f"{OWN}.{each}" for each in ("diagnostics", "ir", "options")},
    "keywords": {f"{OWN}.options"},
    "forked": set(),
    "generated": set(),
    "files": {f"{OWN}.diagnostics", f"{OWN}.generated"},
    "compilation": {f"{OWN}.ir"},
    "frontend": {
        "metaflow",
        *(f"{OWN}.{each}" for each in ("diagnostics", "events", "internals", "ir")),
        f"{OWN}.names",
    },
    "planner": {f"{OWN}.ir", f"{OWN}.names", f"{OWN}.diagnostics"},
    "emit": {
        "libcst",
        *(f"{OWN}.{each}" for each in ("events", "executors", "generated", "ir", "names")),
        *(f"{OWN}.{each}" for each in ("options", "partitions", "shell", "version")),
        f"{OWN}.diagnostics",
        f"{OWN}.runtime",  # what may be imported of it
    },
    "runtime": {"dagster", "pydantic", f"{OWN}.internals", f"{OWN}.version"},
    "compiler": {
        "metaflow.exception",
        *(f"{OWN}.{each}" for each in ("deployment", "emit", "frontend", "planner")),
        *(
            f"{OWN}.{each}"
            for each in ("compilation", "diagnostics", "executors", "files", "forked")
        ),
        *(f"{OWN}.{each}" for each in ("generated", "ir", "keywords", "names", "option_checks")),
        *(f"{OWN}.{each}" for each in ("assets", "automation", "options", "partitions")),
        *PLAIN_RUNTIME,
    },
    "location": {
        *(f"{OWN}.{each}" for each in ("compilation", "diagnostics", "emit", "generated")),
        *(f"{OWN}.{each}" for each in ("names", "option_checks", "options")),
    },
    "components": {
        "dagster",
        *(f"{OWN}.{each}" for each in ("compilation", "location", "options")),
    },
    "hooks": {"metaflow", f"{OWN}.internals"},
    "deployment": {
        "metaflow",
        *(f"{OWN}.{each}" for each in ("compilation", "ir", "option_checks")),
        *PLAIN_RUNTIME,
    },
    # Dagster where it is used, or for types: see the test below.
    "operate": {
        "metaflow",
        "dagster",
        "grpc",  # which Dagster speaks
        "dagster_graphql",
        "alembic",  # whose errors, and those of the next, Dagster passes on
        "sqlalchemy",
        "yaml",
        "rich",
        *(f"{OWN}.{each}" for each in ("deployment", "events", "frontend", "generated", "ir")),
        *(f"{OWN}.{each}" for each in ("internals", "names", "shell")),
        f"{OWN}.runtime.partitions",  # where Dagster is used
        *PLAIN_RUNTIME,
    },
    "deployer": {
        "metaflow",
        *(f"{OWN}.{each}" for each in ("cli", "operate", "triggered_run")),
        "metaflow_extensions.dagster",  # for types, and where it is used
    },
    "triggered_run": {"metaflow", f"{OWN}.internals", f"{OWN}.operate", *PLAIN_RUNTIME},
    "cli": {
        "metaflow",
        *(f"{OWN}.{each}" for each in ("compilation", "compiler", "deployment", "diagnostics")),
        *(f"{OWN}.{each}" for each in ("emit", "executors", "files", "frontend", "hooks", "ir")),
        *(f"{OWN}.{each}" for each in ("internals", "location")),
        *(f"{OWN}.{each}" for each in ("operate", "option_checks", "options", "shell")),
    },
    "deploying": {
        *(f"{OWN}.{each}" for each in ("deployer", "keywords", "options")),
        "metaflow_extensions.dagster",  # for types
    },
}
LAZY = {"runtime": {"metaflow", "sqlalchemy"}, "frontend": {"dagster", "metaflow"}}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "metaflow_extensions" not in path.parts)


def part_of(path: Path) -> str:
    """The module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            if node.module == OWN:
                yield from (f"{OWN}.{alias.name}" for alias in node.names)


def is_within(module: str, prefixes: set[str]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def lazy_imports(tree: ast.Module) -> set[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {module for function in functions for module in imports(function)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    tree = ast.parse(path.read_text())
    lazy = lazy_imports(tree)
    for module in imports(tree):
        allowed = ALLOWED[part] | {f"{OWN}.{part}"}
        if module in lazy:
            allowed = allowed | LAZY.get(part, set())
        known = module.partition(".")[0] in {*sys.stdlib_module_names, "typing_extensions", OWN}
        known = known and not module.startswith(f"{OWN}.")
        assert known or is_within(module, allowed), f"{path.name} imports {module}"


def test_the_map_says_what_each_part_may_import() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = text.partition("## Words")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", parts, re.M)
    in_map = {part: set(re.findall(r"`(\w+)`", others)) for part, others in rows}
    own = {
        part: {name.split(".")[1] for name in names if name.startswith(f"{OWN}.")}
        for part, names in ALLOWED.items()
    }
    assert in_map == {part: names for part, names in own.items() if part not in UNMAPPED}


def test_the_extension_goes_without_the_package() -> None:
    # Metaflow imports it at its own import, and takes it to where steps run.
    for path in (PACKAGE / "metaflow_extensions").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for module in set(imports(tree)) - lazy_imports(tree):
            top = module.partition(".")[0]
            assert top in {*sys.stdlib_module_names, "metaflow"}, f"{path.name} imports {module}"


def test_metaflow_alone_does_not_import_the_package() -> None:
    code = "import sys, metaflow; print(sorted({'metaflow_dagster', 'dagster'} & {*sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_every_part_has_its_rule() -> None:
    assert {part_of(path) for path in MODULES} == ALLOWED.keys()


@pytest.mark.parametrize("part", ["emit", "planner", "runtime.steps"])
def test_importing_a_part_imports_no_orchestrator(part: str) -> None:
    # The package itself imports the frontend, and thereby Metaflow: step around it.
    code = (
        "import sys, types\n"
        f"package = types.ModuleType({OWN!r})\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        f"sys.modules[{OWN!r}] = package\n"
        f"import {OWN}.{part}\n"
        "print(*sorted({'dagster', 'metaflow'} & sys.modules.keys()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == (["dagster"] if part == "runtime.steps" else []), result.stderr


def test_the_datastore_is_read_and_written_in_one_place() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("load_bytes", "save_bytes"))
        or (isinstance(node, ast.Name) and node.id in ("FlowDataStore", "LocalStorage"))
        or (isinstance(node, ast.Constant) and node.value == ".metaflow")
    }
    assert found == {"runtime/store.py"}


def test_importing_the_package_imports_little() -> None:
    # `dg` does so in each of its calls, and looks at all that it lists.
    code = (
        f"import sys, {OWN}\n"
        f"for name in set(dir({OWN})) - {{'MetaflowFlowComponent'}}: getattr({OWN}, name)\n"
        "print({'dagster', 'libcst', 'metaflow'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_importing_the_component_does_not_import_metaflow() -> None:
    # Ops may run in the process, and Metaflow takes over their settings at its import.
    code = f"import sys, {OWN}; {OWN}.MetaflowFlowComponent; print('metaflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n" or "too old" in result.stderr, result.stderr


def test_a_hooked_step_does_without_the_compiler() -> None:
    code = (
        f"import sys; from {OWN}.cli import dagster; dagster.commands['step']\n"
        "print({'dagster', 'libcst'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_creating_a_file_does_without_dagster_and_what_matches_syntax() -> None:
    # LibCST's matchers take longer to import than the rest of it.
    code = (
        f"import sys; from {OWN}.cli import dagster; dagster.commands['create']\n"
        "print({'dagster', 'libcst.matchers'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_commands_are_called_as_they_are_listed() -> None:
    assert {name: command.name for name, command in dagster.commands.items()} == {
        name: name for name in dagster.commands
    }


OPERATE = [f"{OWN}.operate.{path.stem}" for path in MODULES if part_of(path) == "operate"]


@pytest.mark.parametrize(
    "modules", [[OWN], [f"{OWN}.cli", f"{OWN}.deployer", *OPERATE]], ids=["package", "commands"]
)
def test_importing_does_not_import_dagster(modules: list[str]) -> None:
    code = f"import sys, {', '.join(modules)}; print('dagster' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr


def function_lengths() -> dict[str, int]:
    return {
        f"{path.relative_to(PACKAGE)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_functions_are_short() -> None:
    lengths = function_lengths()
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert statistics.median(lengths.values()) <= 12


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
