"""The modules of `benchmarks/`, which is no part of the package, for the tests of the measurements."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return `benchmarks/<name>.py`; the test is skipped where rdkit is missing."""
    pytest.importorskip("rdkit")
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")
