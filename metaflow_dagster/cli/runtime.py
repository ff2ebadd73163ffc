"""`metaflow-dagster runtime`: replace the runtime that the files of a directory share."""

from __future__ import annotations

import sys
from pathlib import Path

from metaflow._vendor import click

from metaflow_dagster.diagnostics import CompileError, raise_if_any
from metaflow_dagster.emit import SHARED_MODULE, emit_shared_runtime
from metaflow_dagster.files import check_replaced, difference, replaced_at_the_end


@click.command(
    help="Write the runtime that the generated files in DIRECTORY share, as this release has it."
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--check",
    is_flag=True,
    default=False,
    help="Write nothing; print how the file differs from what it would be, and exit 1 if it does.",
)
def runtime(directory: str, check: bool) -> None:
    file, text = Path(directory, f"{SHARED_MODULE}.py"), emit_shared_runtime()
    if check:
        _check(file, text)
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


def _check(file: Path, text: str) -> None:
    if diff := difference(file, text):
        click.echo(diff, nl=False)
        sys.exit(1)
    click.echo(f"{file} is current.")
