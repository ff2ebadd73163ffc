"""The modules that a flow's file imports at its top level."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from textwrap import dedent

import pytest

from metaflow_dagster.frontend.imports import imported_names
from tests.unit.flows import flow_class, flow_source, read

LOADED = {
    **{
        name: types.ModuleType(name)
        for name in ("np", "np.linalg", "pd", "sk", "sk.linear", "sk.tree", "os", "sys", "late")
    },
    "sk.odd": 1,  # a package may put anything there
}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        pytest.param("import pd as p, np.linalg, pd", ["pd", "np.linalg"], id="each once"),
        pytest.param("from np import array", ["np"], id="from a module"),
        pytest.param("from sk import linear, tree as t", ["sk.linear", "sk.tree"], id="modules"),
        pytest.param("from sk import linear, clone, odd", ["sk.linear"], id="module and other"),
        pytest.param("from sk import *\nfrom . import pd", ["sk"], id="all of it"),
        pytest.param("import absent\nfrom absent.x import y", [], id="not loaded"),
        pytest.param(
            "try:\n import np\nexcept ImportError:\n import pd\nelse:\n import sk\n"
            "finally:\n import late",
            ["np", "pd", "sk", "late"],
            id="try",
        ),
        pytest.param(
            "if x:\n import np\nelif y:\n import pd\nelse:\n import sk", ["np", "pd", "sk"]
        ),
        pytest.param("with quiet():\n import np", ["np"], id="with"),
        pytest.param("def f():\n import np\nclass C:\n import pd", [], id="later"),
        pytest.param("import os\nX = os.environ['A']\nY = os.getenv('B')\nimport np", ["os", "np"]),
        pytest.param("def f():\n os.environ['A'] = '1'\nimport np", ["np"], id="set later"),
        *(
            pytest.param(f"import pd\n{change}\nimport np", ["pd"], id=change)
            for change in (
                "os.environ['OMP_NUM_THREADS'] = '1'",
                "os.environ.setdefault('A', '1')",
                "os.environ.update(A='1')",
                "del environ['A']",
                "os.putenv('A', '1')",
                "load_dotenv()",
                "sys.path.insert(0, 'lib')",
                "sys.path += ['lib']",
                "sys.path[:0] = ['lib']",
                "sys.path = []",
                "if 'A' not in os.environ:\n os.environ['A'] = '1'",
                "if os.environ.setdefault('A', '1'):\n pass",
            )
        ),
    ],
)
def test_names(source: str, names: list[str]) -> None:
    assert list(imported_names(ast.parse(source), LOADED)) == names


def test_imports_of_a_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `installed` is in an environment below the flow, as with `python -m venv .venv`.
    site = tmp_path / ".venv" / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "installed_here.py").write_text("")
    (tmp_path / "own_module.py").write_text("")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "inner.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(site))
    imports = """
        from __future__ import annotations
        import os.path, json, metaflow.cards
        import own_module, own_package.inner
        import installed_here
        from xml import etree
        import libcst.metadata
    """
    flow = read(flow_class(tmp_path, f"{dedent(imports)}{flow_source()}"))
    try:
        assert flow.imports == ("installed_here", "libcst.metadata")
    finally:
        for name in ("own_module", "own_package", "own_package.inner", "installed_here"):
            sys.modules.pop(name, None)
