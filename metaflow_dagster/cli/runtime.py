"""`metaflow-dagster runtime`: replace the runtime that the files of a directory share."""

from __future__ import annotations

import sys
from pathlib import Path

from metaflow._vendor import click

from metaflow_dagster.cli.compiling import CHECK, are_current
from metaflow_dagster.diagnostics import CompileError, raise_if_any
from metaflow_dagster.emit import SHARED_MODULE, emit_shared_runtime
from metaflow_dagster.files import check_replaced, replaced_at_the_end


@click.command(
    help="Write the runtime that the generated files in DIRECTORY share, as this release has it."
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@CHECK
def runtime(directory: str, check: bool) -> None:
    file, text = Path(directory, f"{SHARED_MODULE}.py"), emit_shared_runtime()
    if check:
        if not are_current({file: text}):
            sys.exit(1)
        click.echo(f"{file} is current.")
        return
    try:
        raise_if_any(check_replaced(file))
        with replaced_at_the_end(file, text):
            pass
    except CompileError as error:
        raise click.ClickException(f"{error}\nNo file was changed.") from error
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote {file}.")
