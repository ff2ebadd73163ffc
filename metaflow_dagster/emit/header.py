"""The comment at the top: what a file is and how to make it anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metaflow_dagster.emit.layout import WIDTH
from metaflow_dagster.emit.place import Place
from metaflow_dagster.generated import MARK
from metaflow_dagster.ir.flow import Flow
from metaflow_dagster.options import Options, given
from metaflow_dagster.shell import file_word, shell_word


def header_lines(flow: Flow, options: Options, place: Place) -> Iterator[str]:
    """The comment lines of a flow's file, `#` included."""
    source = place.relative(flow.file) or flow.file
    yield f"# Dagster definitions of the Metaflow flow {ascii(flow.name)[1:-1]}."
    yield from _how_to(_regenerate(flow, options, source, place.file.name))


def location_header_lines(
    flow_files: Iterable[str], options: Options, place: Place
) -> Iterator[str]:
    """The comment lines of the file that merges those of several flows, `#` included."""
    yield "# Dagster definitions of the Metaflow flows in the files beside this one, as one code"
    yield "# location."
    yield from _how_to(_regenerate_location(flow_files, options, place))


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
    yield from (file_word(place.relative(one) or one) for one in flow_files)
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
