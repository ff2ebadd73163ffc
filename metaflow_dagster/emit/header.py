"""The comment at the top: what a file is and how to make it anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from metaflow_dagster.emit.layout import WIDTH
from metaflow_dagster.emit.place import Place
from metaflow_dagster.generated import MARK, Record, record_line
from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.options import Options, given
from metaflow_dagster.shell import file_word, shell_word


def header_lines(flow: Flow, job_name: str, options: Options, place: Place) -> list[str]:
    """The comment lines of a flow's file, `#` included."""
    return [*_header(flow, job_name, options, place)]


def _header(flow: Flow, job_name: str, options: Options, place: Place) -> Iterator[str]:
    source = place.relative(flow.file) or flow.file
    yield f"# Dagster definitions of the Metaflow flow {ascii(flow.name)[1:-1]}."
    yield from _how_to(_regenerate(flow, options, source, place.file.name))
    yield "#"
    yield record_line(_record(flow, job_name, source, place))


def _record(flow: Flow, job_name: str, source: str, place: Place) -> Record:
    root = flow.backend.datastore_root
    is_path = root is not None and os.path.isabs(root)
    shown = place.relative(root) or root if root is not None and is_path else root
    backend = flow.backend
    return Record(flow.name, job_name, source, backend.metadata, backend.datastore, shown)


def location_header_lines(flow_files: Iterable[str], options: Options, place: Place) -> list[str]:
    """The comment lines of the file that merges those of several flows, `#` included."""
    return [
        "# Dagster definitions of the Metaflow flows in the files beside this one, as one code",
        "# location.",
        *_how_to(_regenerate_location(flow_files, options, place)),
    ]


def shared_header_lines(version: str, digest: str) -> list[str]:
    """The comment lines of the runtime that generated files share, `#` included."""
    return [
        "# What the Dagster definitions of the Metaflow flows in this directory do at run time.",
        f"# Release {version}, digest {digest}.",
        *_how_to(["metaflow-dagster runtime ."]),
    ]


def _how_to(command: Iterable[str]) -> Iterator[str]:
    yield MARK
    yield "#"
    yield "#     cd to the directory of this file"
    first, *rest = command
    lines = [first, *(f"    {part}" for part in rest)]
    yield from (f"#     {line} \\" for line in lines[:-1])
    yield f"#     {lines[-1]}"


def _regenerate_location(
    flow_files: Iterable[str], options: Options, place: Place
) -> Iterator[str]:
    yield "metaflow-dagster create --output-dir ."
    yield from (file_word(place.relative(file) or file) for file in flow_files)
    yield from _option_words(options)


def _regenerate(flow: Flow, options: Options, source: str, output: str) -> Iterator[str]:
    """The command, broken before every option, and before `dagster` where it is too long."""
    start, create = f"python {file_word(source)}", f"dagster create {file_word(output)}"
    if flow.given_options or len(f"#     {start} {create} \\") > WIDTH:
        yield start
        yield from map(shell_word, flow.given_options)
        yield create
    else:
        yield f"{start} {create}"
    yield from _option_words(options)


def _option_words(options: Options) -> Iterator[str]:
    return (" ".join(map(shell_word, words)) for words in given(options))
