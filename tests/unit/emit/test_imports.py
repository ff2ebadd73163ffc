from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import libcst as cst
import pytest

from metaflow_dagster.emit.imports import import_statements
from metaflow_dagster.emit.library import Imported

SEVERAL = [
    (Imported("json", None), "json"),
    (Imported("collections.abc", "Sequence"), "Sequence"),
    (Imported("collections.abc", "Iterator"), "Iterator"),
    (Imported("typing", "IO"), "IO"),
    (Imported("typing", "Any"), "Any"),
    (Imported("dagster", "op"), "op"),
    (Imported("dagster", "Config"), "Config"),
    (Imported("dagster", "IOManager"), "IOManager"),
    (Imported("dagster", "InitResourceContext"), "InitResourceContext"),
    (Imported("dagster", "InputContext"), "InputContext"),
    (Imported("pydantic", "Field"), "Field"),
    (Imported("os", None), "os"),
]


def text(imports: list[tuple[Imported, str]]) -> str:
    sections = list(import_statements(imports))
    return "\n".join(cst.Module(section).code for section in sections)


@pytest.mark.parametrize(
    ("imports", "result"),
    [
        pytest.param([], "", id="none"),
        pytest.param(
            SEVERAL,
            "import json\n"
            "import os\n"
            "from collections.abc import Iterator, Sequence\n"
            "from typing import IO, Any\n"
            "\n"
            "from dagster import Config, InitResourceContext, InputContext, IOManager, op\n"
            "from pydantic import Field\n",
            id="two sections",
        ),
        pytest.param([(Imported("dagster", "op"), "op")], "from dagster import op\n", id="one"),
        pytest.param([(Imported("os", None), "os_")], "import os as os_\n", id="renamed module"),
        pytest.param(
            [
                (Imported("dagster", "Definitions"), "Definitions"),
                (Imported("dagster", "op"), "op"),
                (Imported("dagster", "Config"), "Config_"),
                (Imported("dagster", "job"), "job_"),
            ],
            "from dagster import Config as Config_\n"
            "from dagster import Definitions, op\n"
            "from dagster import job as job_\n",
            id="renamed names are apart",
        ),
        pytest.param(
            [
                (Imported("dagster", name), name)
                for name in ("io_manager", "IOManager", "InputContext", "InitResourceContext", "In")
            ],
            "from dagster import In, InitResourceContext, InputContext, IOManager, io_manager\n",
            id="letters before their case",
        ),
    ],
)
def test_imports(imports: list[tuple[Imported, str]], result: str) -> None:
    assert text(imports) == result


@pytest.mark.parametrize("seed", range(4))
def test_ruff_agrees(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    imports = [(one, f"{here}_" if chance.random() < 0.4 else here) for one, here in SEVERAL]
    file = tmp_path / "imports.py"
    file.write_text(text(imports))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=I", str(file)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + file.read_text()


def test_order_is_that_of_names_and_not_of_use() -> None:
    shuffled = list(SEVERAL)
    random.Random(0).shuffle(shuffled)
    assert text(shuffled) == text(SEVERAL)
