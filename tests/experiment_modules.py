"""The programs of experiments/, which are no package, as modules."""

import importlib.util
import pathlib
from types import ModuleType

import pytest

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1] / "experiments"


def load(name: str) -> ModuleType:
    """The module of a program; what it imports is looked for beside it."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        spec.loader.exec_module(module)
    return module
