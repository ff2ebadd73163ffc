"""Compiling a set of flows, and the files that make a code location of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from metaflow_dagster.compilation import Compilation
from metaflow_dagster.diagnostics import Diagnostic, raise_if_any
from metaflow_dagster.emit import emit_location
from metaflow_dagster.emit.place import place_of
from metaflow_dagster.generated import is_generated_file
from metaflow_dagster.location.process import FlowNotCompiled, compile_flow
from metaflow_dagster.names import Scope
from metaflow_dagster.option_checks import check_options
from metaflow_dagster.options import Options

DEFINITIONS = "definitions.py"  # the file that merges those of the flows


@dataclass(frozen=True, slots=True)
class Location:
    """A code location: what has been compiled, and the text of each file by its path.

    The file that merges the others comes last. `stale` are generated files in the directory that
    belong to no flow of the set.
    """

    compilations: Sequence[Compilation]
    texts: Mapping[Path, str]
    stale: Sequence[Path]

    @property
    def definitions(self) -> Path:
        """The file that merges the others."""
        return list(self.texts)[-1]


class FlowsNotCompiled(Exception):
    """Why each of several flows is not compiled."""

    def __init__(self, failures: Iterable[FlowNotCompiled]) -> None:
        super().__init__("\n\n".join(map(str, failures)))


def merged(flow_files: Sequence[str], options: Options, directory: Path) -> Location:
    """Compile flows for a directory, where nothing is written.

    `FlowsNotCompiled` and `CompileError` say why they do not make a code location.
    """
    definitions = directory / DEFINITIONS
    of_flows = replace(options, runtime=options.runtime or "shared")
    raise_if_any([*check_options(options), *_check_definitions(definitions, flow_files)])
    compiled = _all_compiled(dict.fromkeys(flow_files), of_flows, directory)
    raise_if_any(_check_jobs(compiled))
    modules = module_names(
        {compilation.job_name: compilation.output.stem for compilation in compiled.values()}
    )
    outputs = {
        file: f"{modules[compilation.job_name]}.py" for file, compilation in compiled.items()
    }
    renamed = {file: name for file, name in outputs.items() if name != compiled[file].output.name}
    compiled |= _all_compiled(renamed, of_flows, directory)
    raise_if_any(_check_outputs([directory / name for name in outputs.values()], flow_files))
    compilations = sorted(compiled.values(), key=lambda compilation: compilation.output.name)
    texts = {
        directory / file.name: text
        for compilation in compilations
        for file, text in compilation.texts.items()
    }
    texts[definitions] = emit_location(
        [compilation.output.stem for compilation in compilations],
        sorted(compilation.flow.file for compilation in compilations),
        options,
        place_of(definitions),
    )
    return Location(compilations, texts, sorted(_generated(directory) - texts.keys()))


def _all_compiled(
    outputs: Mapping[str, str | None] | Mapping[str, str], options: Options, directory: Path
) -> dict[str, Compilation]:
    """The compilations of flow files, with the names their outputs are to have, if any."""
    with ThreadPoolExecutor(_processors()) as pool:
        futures = {
            file: pool.submit(compile_flow, file, options, directory, output=output)
            for file, output in outputs.items()
        }
    failures = [error for error in map(_failure, futures.values()) if error is not None]
    if failures:
        raise FlowsNotCompiled(failures)
    return {file: future.result() for file, future in futures.items()}


def _processors() -> int:
    return os.cpu_count() or 1


def _failure(future: Future[Compilation]) -> FlowNotCompiled | None:
    error = future.exception()
    if error is None or isinstance(error, FlowNotCompiled):
        return error
    raise error


def module_names(modules: Mapping[str, str]) -> Mapping[str, str]:
    """The module of each job, by the name it would have alone; no two are the same."""
    scope = Scope()
    return {job: scope.claim(modules[job]) for job in sorted(modules)}


def _check_jobs(compiled: Mapping[str, Compilation]) -> Iterator[Diagnostic]:
    files = defaultdict(list)
    for file, compilation in compiled.items():
        files[compilation.job_name].append(file)
    for job, same in files.items():
        if len(same) > 1:
            yield Diagnostic(
                f"{' and '.join(same)} have the same job, {job}.",
                "A code location has room for one of a name: rename a flow's class, or compile "
                "them to different directories.",
            )


def _check_outputs(outputs: Iterable[Path], flow_files: Iterable[str]) -> Iterator[Diagnostic]:
    flows = {os.path.realpath(file) for file in flow_files}
    for output in outputs:
        if os.path.realpath(output) in flows:
            yield Diagnostic(
                f"{output} is one of the flows, and would be replaced.",
                "Name another --output-dir.",
            )


def _check_definitions(definitions: Path, flow_files: Iterable[str]) -> Iterator[Diagnostic]:
    if not os.path.isdir(definitions.parent):
        yield Diagnostic(
            f"The directory {definitions.parent} does not exist.", "Create it, or name another."
        )
    elif os.path.isdir(definitions):
        yield Diagnostic(f"{definitions} is a directory.", "Name another --output-dir.")
    for file, times in _counted(flow_files).items():
        if times > 1:
            yield Diagnostic(f"{file} is named {times} times.", "Name it once.")


def _counted(flow_files: Iterable[str]) -> Mapping[str, int]:
    times: dict[str, int] = defaultdict(int)
    for file in flow_files:
        times[file] += 1
    return times


def _generated(directory: Path) -> set[Path]:
    return {file for file in directory.glob("*.py") if is_generated_file(file)}
