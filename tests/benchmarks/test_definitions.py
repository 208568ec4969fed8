"""What a figure rests on, definition by definition: what can run counts, and nothing else does."""

from pathlib import Path
from types import ModuleType

import pytest

from benchmark_modules import load_benchmark

FILES = {
    "__init__.py": "",
    "room/__init__.py": "",
    "start.py": '''
"""Docstring."""

from ours.shapes import Round
from ours.room import far
from ours.guard import watched
from ours.hands import handed

LIMIT = 3


def run(x: int) -> float:
    """Return it."""
    from ours.late import late

    told(x)
    return Round(x).size() + far.helped(LIMIT) + late() + watched(handed(x))


def told(x: int) -> None:
    assert x


def beside() -> int:
    return 1
''',
    "shapes.py": """
from abc import ABC, abstractmethod
from typing import ClassVar

from ours.base import Base


class Marked(ABC):
    sign: ClassVar[str] = "x"
    told: str

    @abstractmethod
    def size(self):
        pass

    def drawn_twice(self):
        return 2


class Round(Base):
    factor = 2

    def __init__(self, x):
        self.x = x

    def size(self):
        return self.factor * self.x

    def drawn(self):
        return "o"
""",
    "base.py": """
class Base:
    def size(self):
        raise NotImplementedError

    def told(self):
        return 0
""",
    "room/far.py": """
STEP = 1


def helped(x):
    return _inner(x) + STEP


def _inner(x):
    return x


def never(x):
    return x
""",
    "late.py": "def late():\n    return 5\n",
    "hands.py": "def handed(x):\n    return x\n",
    "guard.py": "def watched(x):\n    return x\n",
}


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_definitions", monkeypatch)


def _version(definitions: ModuleType, folder: Path, **changed: tuple[str, str]) -> str:
    """Return the version of `run` after one text is put in the place of another in a file."""
    package = folder / str(len(list(folder.iterdir()))) / "ours"
    for name, text in FILES.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        old, new = changed.get(path.stem, ("", ""))
        assert old in text
        path.write_text(text.replace(old, new) if old else text, "utf-8")
    found = definitions.definitions_behind(
        {"ours": package}, "ours.start:run", besides=["ours.guard", "ours.start:told"], uncounted=["ours.hands"]
    )
    version: str = definitions.version_of_definitions(found, [])
    return version


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("start", "LIMIT = 3", "LIMIT = 4"),
        ("start", "Round(x).size()", "Round(x + 1).size()"),
        ("shapes", "factor = 2", "factor = 3"),
        ("shapes", "self.factor * self.x", "self.factor + self.x"),
        ("shapes", "class Round(Base)", "class Round(Base, object)"),
        ("base", "raise NotImplementedError", "return 2"),
        ("far", "return x\n\n\ndef never", "return -x\n\n\ndef never"),
        ("far", "STEP = 1", "STEP = 2"),
        ("late", "return 5", "return 6"),
    ],
)
def test_a_change_of_what_can_run_is_another_version(
    definitions: ModuleType, tmp_path: Path, file: str, old: str, new: str
) -> None:
    assert _version(definitions, tmp_path, **{file: (old, new)}) != _version(definitions, tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("start", "Return it.", "Return that."),
        ("start", "x: int", "x: float"),
        ("start", "return 1", "return 2"),
        ("shapes", '"o"', '"0"'),
        ("shapes", "    def drawn(", "    # says why\n\n    def drawn("),
        ("shapes", "class Round(Base)", "class Round(Base, Marked)"),
        ("shapes", "factor = 2", 'factor = 2\n    note: ClassVar[str] = "n"'),
        ("hands", "return x", "return x + 0"),
        ("start", "assert x", "assert x > 0"),
        ("base", "return 0", "return 1"),
        ("far", "def never(x):", "def never(x, y):"),
        ("far", "STEP = 1", "STEP = 1\nOTHER = 2"),
        ("guard", "return x", "return 2 * x"),
    ],
)
def test_sentences_neighbours_methods_that_nobody_names_and_what_is_left_out_are_the_same_version(
    definitions: ModuleType, tmp_path: Path, file: str, old: str, new: str
) -> None:
    assert _version(definitions, tmp_path, **{file: (old, new)}) == _version(definitions, tmp_path)


def test_settings_count_and_a_root_that_is_not_there_is_refused(definitions: ModuleType, tmp_path: Path) -> None:
    _version(definitions, tmp_path)
    package = {"ours": tmp_path / "0" / "ours"}
    found = definitions.definitions_behind(package, "ours.late")
    assert definitions.version_of_definitions(found, 1) != definitions.version_of_definitions(found, 2)
    for root in ("ours.nowhere", "ours.late:nothing"):
        with pytest.raises(KeyError, match=root):
            definitions.definitions_behind(package, root)


def test_the_figures_of_the_clinical_benchmark_rest_on_learners_data_and_metrics_and_not_on_guard_or_explanations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clinical = load_benchmark("clinical", monkeypatch)
    found = clinical.definitions("hierarchical_bayes", clinical.FAMILIES["heart"])
    modules = {module for module, _ in found}
    away = ("predictors.guard", "predictors.predictor", "checkpoints", "run", "ranks", "registry")
    assert not modules & {f"metamedica.{name}" for name in away}
    assert {
        ("metamedica.reports.metrics", "roc_auc 0"),
        ("metamedica.functional.hierarchy", "LEVELS 0"),
        ("metamedica.functional.pooled_models", "fit_boosted 0"),
        ("metamedica.data.rows", "cases 0"),
        ("metamedica.modalities.tables.modality", "Tables 0"),
        ("metamedica.modalities.tables.modality", "Tables 0 raw_encoder 0"),
        ("metamedica.modalities.tables.encoding", "RowEncoder 0 forward 0"),
        ("metamedica.learners.hierarchical_bayes", "HierarchicalBayes 0 fit_tasks 0"),
    } <= set(found)
    assert {name for name in found if "hierarchy" in name[0]} <= set(
        clinical.definitions("bayesian_model_averaging", clinical.FAMILIES["heart"])
    )
    by_steps = clinical.definitions("maml", clinical.FAMILIES["heart"])
    assert {"metamedica.run", "metamedica.encoders.mlp"} <= {module for module, _ in by_steps}
