"""Writing and comparing the output file."""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.generated import holds_nothing, is_generated_file

_LONGEST_SHOWN = 100  # characters of a path that is none


def check_output(path: Path, flow_file: str) -> Iterator[Diagnostic]:
    """Why the path cannot be written to."""
    try:
        yield from _faults(path, flow_file)
    except (OSError, ValueError) as error:  # such as too long a name, or a NUL in it
        reason = getattr(error, "strerror", None) or error
        yield Diagnostic(f"{_short(path)} is not the name of a file: {reason}.", "Name another.")


def _short(path: Path) -> str:
    text = repr(str(path))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _faults(path: Path, flow_file: str) -> Iterator[Diagnostic]:
    directory = Path(os.path.realpath(path)).parent
    if path.exists() and os.path.samefile(path, flow_file):
        yield Diagnostic(f"{path} is the flow itself.", "Name another file for the definitions.")
    elif path.is_dir():
        yield Diagnostic(f"{path} is a directory.", "Name a file in it.")
    elif not directory.is_dir():
        yield Diagnostic(
            f"The directory {directory} does not exist.",
            "Create it, or name another file.",
        )
    elif path.suffix != ".py":
        yield Diagnostic(f"{path} is not the name of a Python file.", "Let it end in .py.")


def check_replaced(path: Path) -> Iterator[Diagnostic]:
    """Why what is at a path must not be replaced by a generated file: somebody has written it."""
    if not holds_nothing(path) and not is_generated_file(path):
        yield Diagnostic(
            f"{path} was not written by this command, and would be lost.",
            "Name another file, or give --force to replace it.",
        )


def check_module_name(
    path: Path, flow_file: str, executor_module: str | None
) -> Iterator[Diagnostic]:
    """Why no file may be called so: Dagster loads it as the module of that name, and where it lies
    other files import it instead of the module that they mean.
    """
    why = _conflict(path.stem, flow_file, executor_module)
    if why:
        yield Diagnostic(
            f"{path} would be imported instead of the module {path.stem}, which {why}.",
            f"Name another file, such as {path.stem}_dagster.py.",
        )


def _conflict(name: str, flow_file: str, executor_module: str | None) -> str | None:
    if name in sys.stdlib_module_names:
        return "belongs to Python"
    if name == executor_module:
        return "has the executor"
    if name in _imported(Path(flow_file)):
        return "the flow imports"
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if PathFinder.find_spec(name, sorted(installed)) is not None:
        return "is installed"
    return None


def _imported(file: Path) -> set[str]:
    """The modules, without the names of what is in them, that a file imports anywhere."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return set()  # as for a flow that is not in a file
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@contextmanager
def replaced_at_the_end(path: Path, text: str) -> Iterator[None]:
    """Replace the file's content when the block ends, unless it raises.

    That the text can be written there is known when the block begins. The content changes at once:
    who reads meanwhile sees the old text or the new.
    """
    target = Path(os.path.realpath(path))
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, mode)
        yield
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextmanager
def all_replaced_at_the_end(texts: Mapping[Path, str]) -> Iterator[None]:
    """Replace the content of files when the block ends, the last one last, unless it raises."""
    with ExitStack() as stack:
        for path, text in reversed(list(texts.items())):
            stack.enter_context(replaced_at_the_end(path, text))
        yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def difference(path: Path, text: str) -> str:
    """A unified diff from what the file holds to the text; empty if they are the same."""
    old = path.read_bytes().decode(errors="replace") if path.exists() else ""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"{path} (as it is)",
        f"{path} (as compiled)",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
