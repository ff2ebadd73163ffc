"""Documents that are made of what the tests know."""

from __future__ import annotations

import argparse
from pathlib import Path


def check_or_write(document: Path, text: str) -> int:
    """Say if a document has this text, or write it, as the command line asks; an exit code."""
    parser = argparse.ArgumentParser(description=f"Check docs/{document.name}, or write it.")
    parser.add_argument("--write", action="store_true", help="write it")
    if parser.parse_args().write:
        document.write_text(text, encoding="utf-8")
        return 0
    if document.read_text(encoding="utf-8") == text:
        return 0
    print(f"docs/{document.name} is not current")
    return 1
