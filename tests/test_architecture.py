"""Who may know whom: DESIGN's layers, checked over the imports of every module.

`cli → api → runner → {recipe, archive, plugins} → everything else`; `interfaces` stands only on
the words that models and components are told in; the contract kit stands beside the API.
Imports for type checkers alone do not count.
"""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "src"

#: modules above the ground floor; each may import its own floor and those below.
FLOORS = {
    "fewbits.recipe": 1,
    "fewbits.archive": 1,
    "fewbits.levels": 1,
    "fewbits.plugins": 1,
    "fewbits.runner": 2,
    "fewbits.edits": 2,
    "fewbits.replaying": 2,
    "fewbits.compiling": 2,
    "fewbits.planning": 2,
    "fewbits.choosing": 2,
    "fewbits.needs": 2,
    "fewbits.series": 2,
    "fewbits.attempts": 2,
    "fewbits.execution": 2,
    "fewbits.resuming": 2,
    "fewbits.datasource": 2,
    "fewbits.opening": 3,
    "fewbits.preparing": 3,
    "fewbits.executables": 3,
    "fewbits.analyzing": 3,
    "fewbits.api": 3,
    "fewbits.tuner": 3,
    "fewbits.testing": 3,
    "fewbits.cli": 4,
}
#: what `interfaces` may stand on.
WORDS = {
    "colours",
    "component",
    "configurable",
    "data",
    "errors",
    "framing",
    "labels",
    "measuring",
    "model",
    "named",
    "options",
    "preprocess",
    "provenance",
    "reporting",
    "scripts",
    "targets",
}
HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "torch", "pydantic", "PIL")
#: modules that `fewbits list` imports.
LIGHT = ("plugins", "hookspecs", "component", "recipe", "errors", "discovery", "cli.app")


def distributions() -> dict[str, Path]:
    """Return import package → folder of its sources, for the core and each plugin here."""
    folders = [ROOT / "core", *(ROOT / "plugins").iterdir(), *(ROOT / "contrib").iterdir()]
    packages = [
        p for folder in folders for p in folder.glob("src/*") if (p / "__init__.py").exists()
    ]
    return {package.name: package for package in packages}


def modules(package: Path) -> dict[str, ast.Module]:
    """Return dotted name → syntax tree, without tests."""
    return {
        ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(file.read_text())
        for file in sorted(package.rglob("*.py"))
    }


def imports(tree: ast.AST, *, inside_functions: bool = True) -> Iterator[str]:
    """Yield every module that a tree imports; `from a import b` yields `a` and `a.b`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.Lambda) and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write absolute imports"
            module = node.module or ""
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        else:
            yield from imports(node, inside_functions=inside_functions)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def floor(module: str) -> int:
    return max((f for name, f in FLOORS.items() if within(module, name)), default=0)


def edges() -> list[tuple[str, str]]:
    """Return every (importer, imported) of every distribution here."""
    return [
        (importer, imported)
        for package in distributions().values()
        for importer, tree in modules(package).items()
        for imported in imports(tree)
    ]


EDGES = edges()
CORE_EDGES = [(a, b) for a, b in EDGES if within(a, "fewbits")]


def test_the_scan_sees_the_imports_that_are_there():
    code = """
    if TYPE_CHECKING:
        import only_for_types
    class A:
        def method(self):
            from package import part
    """
    tree = ast.parse(textwrap.dedent(code))
    assert list(imports(tree)) == ["package", "package.part"]
    assert list(imports(tree, inside_functions=False)) == []
    assert ("fewbits.interfaces", "fewbits.model") in CORE_EDGES
    assert {"fewbits.cli.app", "fewbits.builtin.plugin"} <= {importer for importer, _ in EDGES}


def test_no_module_imports_a_floor_above_its_own():
    wrong = [(a, b) for a, b in CORE_EDGES if within(b, "fewbits") and floor(b) > floor(a)]
    assert wrong == []


def test_interfaces_stand_on_the_words_alone():
    used = {b for a, b in CORE_EDGES if a == "fewbits.interfaces" and b.startswith("fewbits.")}
    assert {name.split(".")[1] for name in used} <= WORDS


@pytest.mark.parametrize(
    ("package", "users"),
    [("fewbits.builtin", ["fewbits.testing"]), ("fewbits.testing", []), ("fewbits.cli", [])],
)
def test_nothing_imports_what_stands_on_top_of_the_core(package, users):
    """The built-ins are reached by name like everyone's; only the contract kit borrows them."""
    allowed = [package, *users]
    wrong = [(a, b) for a, b in CORE_EDGES if within(b, package)]
    assert [(a, b) for a, b in wrong if not any(within(a, name) for name in allowed)] == []


def test_the_core_imports_no_plugin():
    assert [(a, b) for a, b in CORE_EDGES if b.startswith("fewbits_")] == []


def test_no_plugin_imports_another_or_the_cores_own_components():
    ours = {name for name in distributions() if name != "fewbits"}
    wrong = [
        (importer, imported)
        for importer, imported in EDGES
        if importer.split(".")[0] in ours
        and imported.split(".")[0] in ours - {importer.split(".")[0]} | {"fewbits"}
        and (not within(imported, "fewbits") or within(imported, "fewbits.builtin"))
    ]
    assert wrong == []


def test_one_file_knows_rich():
    assert {a for a, b in EDGES if within(b, "rich")} <= {"fewbits.cli.render"}


def test_no_module_imports_itself_through_others():
    trees = modules(CORE / "fewbits")
    graph = {
        name: {
            imported
            for imported in imports(tree, inside_functions=False)
            if imported in trees and not within(name, imported)
        }
        for name, tree in trees.items()
    }
    list(TopologicalSorter(graph).static_order())


def test_no_function_changes_a_global():
    trees = modules(CORE / "fewbits")
    assert [
        n for n, t in trees.items() if any(isinstance(x, ast.Global) for x in ast.walk(t))
    ] == []


def heavy_after(code: str) -> str:
    """Run `code` in a fresh Python and return which heavy libraries it imported."""
    tail = f"import sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    command = [sys.executable, "-c", f"{code}\n{tail}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", ["", *(f".{name}" for name in LIGHT)])
def test_light_modules_import_nothing_heavy(module):
    assert heavy_after(f"import fewbits{module}") == "[]"


def test_discovering_the_installed_plugins_imports_nothing_heavy():
    code = "from fewbits.plugins import discover\nassert discover().components()"
    assert heavy_after(code) == "[]"


@pytest.mark.parametrize("package", sorted(distributions()))
def test_plugin_modules_here_import_nothing_heavy(package):
    module = f"{package}.builtin.plugin" if package == "fewbits" else f"{package}.plugin"
    source = str(distributions()[package].parent)
    assert heavy_after(f"import sys; sys.path.insert(0, {source!r}); import {module}") == "[]"
