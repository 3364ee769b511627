"""The layout of the package: a short top, folders that say what belongs in them, imports that go downwards."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pycam"

ORDER = [
    {"errors"},
    {"console", "prefetch", "formats"},
    {"tables"},
    {"net"},
    {"architectures"},
    {"zoo"},
    {"images"},
    {"engines"},
    {"onnx"},
    {"maps"},
    {"metrics"},
    {"drawing"},
    {"protocols"},
    {"model"},
    {"prediction"},
    {"predict"},
    {"variants", "pytorch"},
    {"units"},
    {"ilsvrc"},
    {"evaluation"},
    {"paper"},
    {"training"},
    {"report"},
    {"page"},
    {"verification"},
    {"pycaffe"},
    {"cli"},
    {"__main__"},
]
"""Folders and modules of `pycam`, the lowest first: each may import itself and what stands above it in this list."""

LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> set[str]:
    """Return the modules of pycam that a module names in its imports, those inside functions too."""
    found: set[str] = set()
    names = {dotted(module) for module in MODULES}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & names or {node.module}
    return found & names


def test_the_top_of_the_package_is_short():
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 12


@pytest.mark.parametrize("folder", sorted(path.parent for path in PACKAGE.glob("*/__init__.py")), ids=lambda p: p.name)
def test_each_folder_says_what_belongs_there_and_what_does_not(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert docstring
    assert "belong" in docstring


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_downwards(path):
    own = dotted(path).split(".")[1]
    for name in imports(path):
        other = name.split(".")[1]
        assert other == own or LEVELS[other] < LEVELS[own], f"{dotted(path)} imports {name}"


def test_one_module_prints():
    # What others print is not escaped. The grid of a table escapes its cells, and Caffe's worker has no pycam.
    for path in MODULES:
        if dotted(path) in ("pycam.console", "pycam.tables", "pycam.engines.caffe_worker"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), f"{dotted(path)}:{node.lineno} prints"
            assert not (isinstance(node, ast.ImportFrom) and node.module == "rich.console"), dotted(path)


def test_no_circle_of_imports():
    graph = {dotted(path): imports(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' > '.join((*way[way.index(name) :], name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        # A folder's `__init__` re-exports its modules, which may import its siblings by their own names.
        visit(name, ())
