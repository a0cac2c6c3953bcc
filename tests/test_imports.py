"""The layers import one way, and the heavy libraries come late."""

import ast
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "egojax"
LAYERS = "errors types ops metrics models data methods task train tasks apps".split()  # noqa: SIM905


def layer_of(module: str) -> int:
    """`egojax.ops.depth` -> the position of `ops`; the package itself is below all."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 else -1


def imports_of(path: pathlib.Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inner = [f"{module}.{alias.name}" for alias in node.names]
            found += inner if module == "egojax" else [module]
    return [name for name in found if name.split(".")[0] == "egojax"]


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_its_layer_and_those_before(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for imported in imports_of(path):
        assert layer_of(imported) <= layer_of(name), f"{name} imports {imported}"


def test_every_module_belongs_to_a_layer():
    for path in MODULES:
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert first in (*LAYERS, "__init__"), path


def test_only_apps_print():
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] != "apps":
            calls = (n for n in ast.walk(ast.parse(path.read_text())))
            names = (n.func for n in calls if isinstance(n, ast.Call))
            printed = [f for f in names if isinstance(f, ast.Name) and f.id == "print"]
            assert not printed, path


@pytest.mark.parametrize("code", ["import egojax", "import egojax.apps.cli"])
def test_a_bare_import_loads_nothing_heavy(code):
    probe = f"{code}, sys; print(sorted({{'jax', 'numpy', 'cv2'}} & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_every_package_is_in_the_wheel():
    with open(ROOT / "pyproject.toml", "rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in MODULES}
    assert set(listed) == there | {"egojax.configs"}
