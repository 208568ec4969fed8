"""The measurements themselves: what they rest on, how they judge, and that the committed split is what it says."""

import ast
import json
import math
import shutil
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark_modules import ROOT, load_benchmark
from metamedica.data.collection import TaskCollection
from metamedica.data.splits import overlap_groups, rows_of, split_by_overlap
from metamedica.reports.evaluation import Evaluation
from metamedica.types import META_SPLITS, PreparedCases

SPLIT = ROOT / "benchmarks" / "chembl691_split.json"


@pytest.fixture
def molecules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("molecules", monkeypatch)


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_budgets", monkeypatch)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_record", monkeypatch)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")))
def test_every_benchmark_can_be_imported_and_says_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_benchmark(name, monkeypatch)
    assert callable(module.main)
    assert f"python -m benchmarks.{name}" in (module.__doc__ or "") or "make " in (module.__doc__ or "")


# The committed split.


def _listed() -> dict[str, list[str]]:
    listed: dict[str, list[str]] = json.loads(SPLIT.read_text(encoding="utf-8"))
    return listed


def test_the_committed_split_deals_every_target_once_in_the_shares_asked_for() -> None:
    listed = _listed()
    assert tuple(listed) == META_SPLITS
    assert [len(listed[side]) for side in META_SPLITS] == [470, 67, 135]
    every = [name for names in listed.values() for name in names]
    assert len(set(every)) == len(every) == 672
    assert all(name.startswith("CHEMBL") for name in every)
    for names in listed.values():
        assert names == sorted(names)


@pytest.fixture(scope="module")
def both() -> tuple[TaskCollection, TaskCollection]:
    """The committed split before and after molecules are set apart.

    Molecules are taken as they are written and not featurised: the 85,271 that are listed are distinct and stay so.
    """
    pytest.importorskip("rdkit")
    from metamedica.modalities.molecules import Molecules

    def as_written(self: Molecules, cases: Sequence[str], **_: Any) -> PreparedCases:
        return PreparedCases(list(range(len(cases))), list(cases), {"none": torch.zeros(len(cases), 1)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Molecules, "prepare", as_written)
        patch.setattr(Molecules, "version", "as written")  # so that nothing else finds these in the cache
        module = load_benchmark("chembl_split", patch)
        tasks = module.load_split()
        patch.setattr(module, "load_split", lambda: tasks)
        return tasks, module.load_disjoint()


@pytest.mark.mirror
def test_the_committed_split_is_the_one_that_its_command_draws(both: tuple[TaskCollection, TaskCollection]) -> None:
    tasks, _ = both
    assert (len(tasks), len(tasks.canonical), tasks.n_values) == (672, 85_271, 162_727)
    drawn = split_by_overlap(tasks, share=0.3, fractions=(0.7, 0.1, 0.2), seed=0)
    assert {side: sorted(drawn.names(side)) for side in META_SPLITS} == _listed()
    for group in overlap_groups(tasks, share=0.3):
        assert len({tasks.split[name] for name in group}) == 1


@pytest.mark.mirror
def test_after_the_split_no_molecule_stands_on_two_sides(both: tuple[TaskCollection, TaskCollection]) -> None:
    tasks, apart = both
    sides = {side: set(rows_of(apart, apart.names(side)).tolist()) for side in META_SPLITS}
    for left, right in combinations(META_SPLITS, 2):
        assert not sides[left] & sides[right]
    assert apart.names("meta_test") == tasks.names("meta_test")
    for name in apart.names("meta_test"):
        assert apart[name].rows.tolist() == tasks[name].rows.tolist()
    assert all(len(apart[name]) >= 8 for name in [*apart.names("meta_train"), *apart.names("meta_valid")])
    assert [len(apart.names(side)) for side in META_SPLITS] == [419, 60, 135]


# What a finished part rests on.


def _package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_modules_behind_a_file_are_all_that_it_imports_directly_or_not(record: ModuleType, tmp_path: Path) -> None:
    files = {
        "a.py": "import torch\nfrom metamedica.room import b\nfrom os import path\n",
        "room/__init__.py": "",
        "room/b.py": "def late():\n    from metamedica.c import thing\n",
        "c.py": "from metamedica.a import x\n",
        "alone.py": "from metamedica.c import y\n",
    }
    _package(tmp_path, files)
    found = [path.relative_to(tmp_path).as_posix() for path in record.modules_behind(tmp_path, "a.py")]
    assert found == ["a.py", "c.py", "room/__init__.py", "room/b.py"]
    both = record.modules_behind(tmp_path, "alone.py", "c.py")
    assert {path.name for path in both} == {"alone.py", "c.py", "a.py", "__init__.py", "b.py"}


def test_a_module_imported_from_the_package_itself_is_behind_a_file_too(record: ModuleType, tmp_path: Path) -> None:
    files = {"__init__.py": "", "a.py": "from metamedica import b, __version__\n", "b.py": ""}
    found = {path.name for path in record.modules_behind(_package(tmp_path, files), "a.py")}
    assert {"a.py", "b.py"} <= found


def test_no_file_of_the_package_is_imported_in_a_way_that_the_search_does_not_know() -> None:
    """The search knows `from metamedica... import ...`, and neither `import metamedica.x` nor `from . import x`."""
    for path in sorted((ROOT / "src" / "metamedica").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
            elif isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("metamedica")], path


@pytest.mark.parametrize("learner", ["deep_kernel", "random_forest", "maml", "common_mean_gp"])
def test_a_learners_code_version_changes_with_what_it_rests_on_and_with_nothing_else(
    budgets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str
) -> None:
    definitions = sys.modules["benchmarks._definitions"]
    source = definitions.PACKAGES["metamedica"]
    shutil.copytree(source, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "__pycache__"))
    before = budgets.code_version(learner)
    monkeypatch.setitem(definitions.PACKAGES, "metamedica", tmp_path)
    assert budgets.code_version(learner) == before

    def changes(name: str, old: str, new: str) -> bool:
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert old in text, name
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        definitions._parsed.cache_clear()
        changed: bool = budgets.code_version(learner) != before
        path.write_text(text, encoding="utf-8")
        definitions._parsed.cache_clear()
        return changed

    learns, own = learner not in budgets.FROM_SCRATCH, f"learners/{learner}.py"
    assert not changes(own, "\nclass ", "\n# A remark.\nclass ")
    assert not changes("training.py", "\n@dataclass", "\n# A remark.\n@dataclass")
    line = "Constant(self.rate)" if learner == "maml" else "        super().__init__()\n"
    other = "Constant(2 * self.rate)" if learner == "maml" else f"{line}        self.other = 1\n"
    assert changes(own, line, other)
    assert changes("predictors/method.py", "self.learner = learner.eval()", "self.learner = learner")
    assert changes("functional/targets.py", "_ROUNDING = 16.0", "_ROUNDING = 8.0")
    assert not changes("learners/linear_probe.py", "super().__init__()", "super().__init__(None)")
    assert changes("gates.py", "FOLDS = 5", "FOLDS = 4") == learns
    assert changes("outer_gradient.py", "_NEAR = 1e-3", "_NEAR = 1e-4") == (learner in ("deep_kernel", "maml"))
    assert changes("functional/inner_loop/learner.py", "rate: float = 0.1", "rate: float = 0.2") == (learner == "maml")
    monkeypatch.setitem(budgets.STEPS, learner, {"steps": 7})
    assert (budgets.code_version(learner) != before) == learns


# How it judges.


@pytest.mark.parametrize(
    ("wanted", "value", "lower", "met"),
    [
        (50.0, 49.9, True, True),
        (50.0, 50.0, True, True),
        (50.0, 50.1, True, False),
        (0.9, 0.91, False, True),
        (0.9, 0.89, False, False),
        (None, 3.0, False, None),
        (0.9, math.nan, False, False),
    ],
)
def test_a_goal_is_met_on_the_right_side_of_what_was_wanted(
    molecules: ModuleType, wanted: float | None, value: float, lower: bool, met: bool | None
) -> None:
    line = molecules.goal("speed", wanted, value, [value, value], lower=lower)
    assert line["met"] is met
    assert (line["name"], line["goal"]) == ("speed", wanted)


def test_a_goal_is_judged_before_its_value_is_rounded(molecules: ModuleType) -> None:
    line = molecules.goal("speed", 0.9, 0.899999, [0.123456, 0.9], lower=False)
    assert (line["value"], line["interval"], line["met"]) == (0.9, [0.1235, 0.9], False)


def test_the_spread_is_from_the_tenth_to_the_ninetieth_percentile(molecules: ModuleType) -> None:
    assert molecules.spread(range(101)) == [10.0, 90.0]
    assert molecules.spread([2.0]) == [2.0, 2.0]


def test_two_things_are_timed_in_turn_as_often_as_asked(molecules: ModuleType) -> None:
    order: list[str] = []
    one, two = molecules.interleaved(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == list("ababab")
    assert (len(one), len(two)) == (3, 3)
    assert min(one + two) >= 0


def _evaluation(gains: dict[str, float], *, kind: str = "binary", shots: tuple[int, ...] = (16, 64)) -> Evaluation:
    """Return an evaluation in which the default beats each method by the gain named, on 20 tasks, with a little noise."""
    rng = np.random.default_rng(0)
    figure = {"binary": "delta_auprc", "regression": "r2"}[kind]
    others = {"binary": ("roc_auc", "brier", "ece"), "regression": ("spearman", "rmse", "coverage")}[kind]
    rows = []
    for task in range(20):
        for size in shots:
            base = rng.normal(0.5, 0.1)
            for method, gain in {"chembl-potency (default)": 0.0, **gains}.items():
                value = base - gain + rng.normal(0, 0.01)
                row: dict[str, Any] = {"method": method, "task": f"t{task}", "shots": size, "draw": 0, "query": 9}
                rows.append(row | {figure: value} | dict.fromkeys(others, value))
    return Evaluation(kind, pd.DataFrame(rows), {"name": "FS-Mol"})


@pytest.mark.parametrize(
    ("forest", "process", "met"),
    [
        (0.1, 0.1, [True, True]),
        (0.1, -0.1, [True, False]),
        (-0.1, 0.0, [False, True]),
        (0.0, 0.0, [False, True]),
    ],
)
def test_the_verdict_asks_to_beat_the_forest_and_not_to_lose_to_the_process(
    molecules: ModuleType, forest: float, process: float, met: list[bool]
) -> None:
    evaluation = _evaluation({"random_forest": forest, "tanimoto_gp": process})
    goals = molecules.verdicts({"binary": evaluation})
    assert [goal["met"] for goal in goals] == met * 2
    assert ["16 labels" in goal["name"] for goal in goals] == [True, True, False, False]
    for goal in goals:
        low, high = goal["interval"]
        assert low <= goal["value"] <= high
        assert goal["goal"] == 0.0


def test_a_gain_that_could_be_chance_does_not_beat_the_forest(molecules: ModuleType) -> None:
    evaluation = _evaluation({"random_forest": 0.001, "tanimoto_gp": 0.001})
    first = molecules.verdicts({"binary": evaluation})[0]
    assert first["p"] > 0.01
    assert first["met"] is False


def test_evaluations_of_one_method_each_are_joined_as_they_are(molecules: ModuleType) -> None:
    whole = _evaluation({"random_forest": 0.1})
    parts = [
        Evaluation("binary", whole.rows[whole.rows["method"] == name], whole.protocol, {name: "why"}, pd.DataFrame())
        for name in whole.methods
    ]
    joined = molecules.joined(parts)
    assert joined.per_task().equals(whole.per_task())
    assert joined.skipped == dict.fromkeys(whole.methods, "why")


def test_the_table_for_people_holds_every_method_and_every_goal(molecules: ModuleType) -> None:
    evaluations = {
        kind: _evaluation({"random_forest": 0.1, "tanimoto_gp": 0.0}, kind=kind) for kind in ("binary", "regression")
    }
    goals = [*molecules.verdicts(evaluations), molecules.goal("speed", None, 1.0, [0.5, 2.0])]
    text = molecules.markdown(evaluations, goals)
    for kind in ("binary", "regression"):
        for shots in (16, 64):
            assert f"## {kind}, {shots} labelled compounds (20 targets, 10 draws)" in text
    assert text.count("| random_forest |") == 4
    assert "| speed | – | 1.0 | 0.5 to 2.0 | – |" in text
    for goal in goals:
        assert f"| {goal['name']} |" in text


def test_the_budget_names_learners_that_exist_and_the_quick_ones_are_among_them(
    molecules: ModuleType, budgets: ModuleType
) -> None:
    from metamedica import registry
    from metamedica.types import ClosedForm

    known = set(registry.names("learners"))
    stepless = {name for name in known if issubclass(registry.learner_class(name), ClosedForm)}
    assert set(budgets.STEPS) | set(budgets.FROM_SCRATCH) <= known
    elsewhere = {
        "prior_fitted_network",
        "leave_one_out_gp",
    }  # benchmarks/many_diseases and benchmarks/images judge them
    assert known - set(budgets.STEPS) - set(budgets.FROM_SCRATCH) - stepless - elsewhere == {"deep_kernel"}
    assert {*molecules.QUICK_LEARNERS, *budgets.TABLE} <= set(budgets.STEPS) | set(budgets.FROM_SCRATCH)


@pytest.mark.parametrize("name", ["any-table", "chembl-potency", "heart"])
def test_the_shipped_model_was_made_with_the_settings_of_its_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamedica.meta_learner import MetaLearner

    benchmark = f"make_{name.replace('-', '_')}"
    made = load_benchmark(benchmark, monkeypatch)
    shipped, wanted = MetaLearner.load(name).get_params(), made.configured().get_params()
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in shipped.items()} == {
        name: list(v) if isinstance(v, tuple) else v for name, v in wanted.items()
    }
    command: str = made.COMMAND
    assert command == f"python -m benchmarks.{benchmark}"
    assert made.FOLDER.is_dir()


@pytest.mark.mirror
def test_the_card_of_heart_counts_the_patients_that_taught_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica.data.catalogue import heart

    made = load_benchmark("make_heart", monkeypatch)
    frame = heart.table()
    told = made.about(heart.load())
    card = (made.FOLDER / "CARD.md").read_text(encoding="utf-8")
    assert told.data.startswith(f"{len(frame)} patients of {frame['task'].nunique()} hospitals")
    for name, labels in frame.groupby("task")["label"]:
        assert f"| {name} | {len(labels)} | {labels.mean():.0%} |" in told.figures
    assert any(f"{(frame['sex'] == 'female').mean():.0%} of the patients are women" in limit for limit in told.limits)
    for line in (told.data, told.attribution, told.licence, told.command, *told.figures, *told.limits):
        assert line in card


def test_the_model_heart_holds_no_patient_and_less_than_a_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica.meta_learner import MetaLearner

    made = load_benchmark("make_heart", monkeypatch)
    model = MetaLearner.load("heart").model_
    assert len(model.earlier.known) == 0
    assert len(model.earlier.centroids) == 4
    assert sum(path.stat().st_size for path in made.FOLDER.iterdir()) < made.LARGEST_MB * 1e6
    for name, tensor in model.learner.state_dict().items():
        assert 920 not in tensor.shape, name
    card = (made.FOLDER / "CARD.md").read_text(encoding="utf-8")
    for word in ("Janosi", "Steinbrunn", "Pfisterer", "Detrano", "CC BY 4.0", "not a medical device", "1988"):
        assert word in card
