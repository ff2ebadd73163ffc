"""The package as users get it: built, installed where nothing else is, and run."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import pytest

from metaflow_dagster.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "fixtures" / "demo"
FLOWS = ROOT / "fixtures" / "flows"


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test as slow, and to run where the others have built what it needs."""
    return pytest.mark.slow(pytest.mark.xdist_group("packaging")(test))


def run(command: Sequence[object], cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints; the test fails with all of it if the command does."""
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def bare_environment(home: Path) -> dict[str, str]:
    """The environment of a container: no user, no configuration, an empty home."""
    home.mkdir()
    return {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves its own `build` behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "metaflow_dagster", source / "metaflow_dagster", ignore=no_caches)
    run([sys.executable, "-m", "build", "--wheel", "--outdir", "dist", "."], source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it requires, and no more."""
    environment = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", environment], environment)
    python = environment / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    run([python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel], environment)
    return python


@slow
def test_wheel_holds_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "metaflow_dagster"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    # The extension is a package of its own; Metaflow looks for it by that name.
    extension = "metaflow_extensions"
    expected = {
        str(path if path.parts[0] == extension else Path("metaflow_dagster", path))
        for path in modules
    }
    assert held == expected | {"metaflow_dagster/py.typed"}


@slow
def test_wheel_carries_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (license_file,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(license_file) == (ROOT / "LICENSE").read_bytes()


@slow
def test_installed_wheel_adds_the_command_group(installed: Path, tmp_path: Path) -> None:
    shown = run(
        [installed, FLOWS / "linear.py", "dagster", "--help"],
        tmp_path,
        {**bare_environment(tmp_path / "home"), "METAFLOW_USER": "someone"},
    )
    assert re.search(r"^ +create ", shown, re.MULTILINE)


@slow
def test_installed_wheel_compiles_and_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    """With what the flow itself needs: the package does not bring it."""
    constraints = ROOT / "constraints.txt"
    run([installed, "-m", "pip", "install", "-q", "-c", constraints, "scikit-learn"], tmp_path)
    environment = bare_environment(tmp_path / "home")
    shown = run([installed, DEMO / "demo.py", tmp_path / "demo"], tmp_path, environment)
    assert "SUCCESS" in shown
    assert "op_train[2_2]" in shown
    assert {file.name for file in (tmp_path / "demo" / "defs").glob("*.py")} == {
        "_metaflow_runtime.py",
        "definitions.py",
        "forecastflow_dagster.py",
        "forecastreportflow_dagster.py",
        "salesetlflow_dagster.py",
        "winesearchflow_dagster.py",
    }


@slow
def test_demo_says_what_failed(tmp_path: Path) -> None:
    """In a copy of the demo with a flow that cannot be compiled."""
    shutil.copytree(DEMO, tmp_path / "demo")
    shutil.copytree(FLOWS, tmp_path / "flows")
    (tmp_path / "flows" / "forecast.py").write_text("raise RuntimeError('no such flow')\n")
    finished = subprocess.run(
        [sys.executable, tmp_path / "demo" / "demo.py", tmp_path / "made"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("demo failed: ")
    assert "no such flow" in finished.stderr


@slow
def test_editable_install_adds_the_command_group(tmp_path: Path) -> None:
    shown = run(
        [sys.executable, FLOWS / "linear.py", "dagster", "--help"],
        tmp_path,
        {**bare_environment(tmp_path / "home"), "METAFLOW_USER": "someone"},
    )
    assert re.search(r"^ +create ", shown, re.MULTILINE)


def test_version_is_written_once() -> None:
    assert metadata.version("metaflow-dagster") == VERSION
    written = [
        path.relative_to(ROOT).as_posix()
        for path in [ROOT / "pyproject.toml", *(ROOT / "metaflow_dagster").rglob("*.py")]
        if re.search(rf"['\"]{re.escape(VERSION)}['\"]", path.read_text())
    ]
    assert written == ["metaflow_dagster/version.py"]


def test_oldest_constraints_are_the_lower_bounds() -> None:
    required = [
        require for require in metadata.requires("metaflow-dagster") or [] if "extra" not in require
    ]
    bounds = dict(requirement.split(">=") for requirement in required)
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    for name in ("dagster", "libcst", "metaflow", "typing-extensions"):
        assert re.fullmatch(rf"{re.escape(bounds[name])}(\.0)*", pinned[name])
