"""A search: the defaults first, meta-test tasks never, the same trials after a kill, pruning, and files that fit can take."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import FileFormatError, InputError, TaskError, TrainingError
from metamedica.meta_learner import MetaLearner
from metamedica.tuning.results import Found
from metamedica.tuning.settings import FitSettings
from metamedica.tuning.study import FILES, Search, search
from metamedica.types import Between, OneOf

SMALL = Search(("prototypical",), trials=3, steps=2)
TRIED = {"hidden": OneOf(([1024], [8], [16])), "dim": OneOf((256, 4, 8)), "dropout": Between(0.0, 0.5)}
"""Encoders of a few units, so that a trial takes a moment."""
DIES = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_study import SMALL, TRIED, MetaLearner, collection, registry, search

registry.encoder_class("mlp").ranges = TRIED
fit, calls = MetaLearner.fit, []

def second_is_killed(self, *args, **given):
    calls.append(1)
    return fit(self, *args, **given) if len(calls) < 2 else os.kill(os.getpid(), signal.SIGKILL)

MetaLearner.fit = second_is_killed
search(collection(), SMALL, sys.argv[2])
"""


def collection(*, test_targets: float = 0.0) -> TaskCollection:
    """Six tasks over 60 made-up fingerprints; one is meta-valid, one meta-test."""
    rng = np.random.default_rng(3)
    counts = (rng.random((60, 2048)) < 0.01).astype(np.float32)
    descriptors = rng.normal(size=(60, 22)).astype(np.float32)
    tasks, split = {}, {}
    for number in range(6):
        rows = rng.permutation(60)[:30]
        targets = counts[rows, :200] @ rng.normal(size=200) + descriptors[rows, 0] + test_targets * (number == 5)
        tasks[f"t{number}"] = Task(f"t{number}", "regression", rows, targets.astype(np.float64), unit="pIC50")
        split[f"t{number}"] = {4: "meta_valid", 5: "meta_test"}.get(number, "meta_train")
    names = [f"case {row}" for row in range(60)]
    features = {"counts": torch.from_numpy(counts), "descriptors": torch.from_numpy(descriptors)}
    return TaskCollection("molecules", names, features=features, tasks=tasks, split=split)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.encoder_class("mlp"), "ranges", TRIED)
        yield


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same(one: Found, other: Found) -> bool:
    return [(row.values, row.score, row.state) for row in one.rows] == [
        (row.values, row.score, row.state) for row in other.rows
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _narrow: None) -> tuple[Path, Found]:
    folder = tmp_path_factory.mktemp("search") / "new"
    return folder, search(collection(), SMALL, folder)


def test_a_search_writes_every_trial_and_the_best_settings(whole: tuple[Path, Found]) -> None:
    folder, found = whole
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [row["trial"] for row in table(folder)] == ["1", "2", "3"]
    assert found.best.score == max(row.score for row in found.rows if row.state == "complete" and row.score is not None)
    assert FitSettings.read(folder / "best.json") == found.settings
    assert json.loads((folder / "best.json").read_text())["found"]["score"] == found.best.score
    assert json.loads(table(folder)[0]["encoder_settings.hidden"]) == [1024]


def test_the_first_trial_is_the_defaults(whole: tuple[Path, Found]) -> None:
    first = whole[1].rows[0]
    assert first.values["settings.temperature"] == 1.0
    assert first.values["encoder_settings.hidden"] == [1024]
    assert first.values["training.learning_rate"] == MetaLearner().learning_rate


def test_the_score_is_that_of_fit_with_the_best_settings(whole: tuple[Path, Found]) -> None:
    best = whole[1].settings
    made = MetaLearner(
        best.learner,
        settings=best.settings,
        encoder_settings=best.encoder_settings,
        validate_every=1,
        binary_share=1.0,
        guard=False,
        **best.training,
    )
    assert max(row["valid"] for row in made.fit(collection()).history_) == whole[1].best.score


def test_meta_test_tasks_change_nothing(whole: tuple[Path, Found], tmp_path: Path) -> None:
    assert same(search(collection(test_targets=50.0), SMALL, tmp_path / "s"), whole[1])


def test_a_search_of_fewer_trials_goes_on_to_the_same_ones(whole: tuple[Path, Found], tmp_path: Path) -> None:
    few = Search(SMALL.learners, trials=2, steps=SMALL.steps)
    assert len(search(collection(), few, tmp_path / "s").rows) == 2
    assert same(search(collection(), SMALL, tmp_path / "s", resume=True), whole[1])


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_killed_search_loses_no_trial_and_counts_none_twice(whole: tuple[Path, Found], tmp_path: Path) -> None:
    """A process killed inside the second trial, which then stands as running in the storage."""
    words = [sys.executable, "-c", DIES, str(Path(__file__).parent), str(tmp_path / "s")]
    assert subprocess.run(words, check=False, timeout=300).returncode == -signal.SIGKILL
    kept = optuna.load_study(study_name="metamedica", storage=f"sqlite:///{tmp_path / 's' / 'trials.sqlite'}")
    assert [trial.state.name for trial in kept.trials] == ["COMPLETE", "RUNNING"]
    assert [row["trial"] for row in table(tmp_path / "s")] == ["1"]
    assert same(search(collection(), SMALL, tmp_path / "s", resume=True), whole[1])
    assert [row["trial"] for row in table(tmp_path / "s")] == ["1", "2", "3"]


def test_learners_compete_for_one_score(tmp_path: Path) -> None:
    found = search(collection(), Search(("prototypical", "ridge_head"), trials=3, steps=1), tmp_path / "s")
    assert [row.learner for row in found.rows[:2]] == ["prototypical", "ridge_head"]
    assert found.settings.learner == found.best.learner


def test_a_trial_that_fails_is_kept_with_its_reason_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, calls = MetaLearner.fit, []

    def fails_once(self: MetaLearner, *args: object, **given: object) -> MetaLearner:
        calls.append(1)
        if len(calls) == 2:
            raise TrainingError("the loss is not finite")
        return fit(self, *args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(MetaLearner, "fit", fails_once)
    found = search(collection(), SMALL, tmp_path / "s")
    assert [row.state for row in found.rows] == ["complete", "failed", "complete"]
    assert table(tmp_path / "s")[1]["why"] == "the loss is not finite"


def test_a_search_in_which_every_trial_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: MetaLearner, *args: object, **given: object) -> MetaLearner:
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(MetaLearner, "fit", fails)
    with pytest.raises(TrainingError, match="all 3 trials failed; the last one: the loss is not finite"):
        search(collection(), SMALL, tmp_path / "s")


def test_a_trial_far_below_the_others_is_stopped_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(scores: list[float]) -> Callable[..., MetaLearner]:
        def fit(
            self: MetaLearner, tasks: TaskCollection, *, progress: object, watch: Callable[[int, float], None]
        ) -> MetaLearner:
            score = scores.pop(0)
            self.history_ = []
            for step in (10, 20, 30, 40):
                watch(step, score)
                self.history_.append({"step": step, "loss": 0.0, "valid": score})
            return self

        return fit

    monkeypatch.setattr(MetaLearner, "fit", made([-0.5] * 6 + [-2.0]))
    found = search(collection(), Search(("prototypical",), trials=7, steps=40), tmp_path / "s")
    assert [row.state for row in found.rows] == ["complete"] * 6 + ["pruned"]
    assert (found.rows[-1].steps, found.rows[-1].score) == (10, -2.0)


def test_the_page_shows_history_and_what_mattered_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(self: MetaLearner, *args: object, **given: object) -> MetaLearner:
        self.history_ = [{"step": 1, "loss": 0.0, "valid": -abs(np.log((self.settings or {})["temperature"]))}]
        return self

    monkeypatch.setattr(MetaLearner, "fit", fit)
    found = search(collection(), Search(("prototypical",), trials=12, steps=1), tmp_path / "s")
    assert next(iter(found.importance)) == "settings.temperature"
    page = (tmp_path / "s" / "tuning.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "fANOVA" in page
    assert not re.search(r"(src|href)=|https?://|<script", page)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"seed": 1}, "other seed"), ({"learners": ("ridge_head",)}, "other learners"), ({"steps": 3}, "other steps")],
)
def test_another_search_is_not_mixed_in(whole: tuple[Path, Found], change: dict[str, object], said: str) -> None:
    other = Search(**{"learners": SMALL.learners, "trials": 3, "steps": 2, **change})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        search(collection(), other, whole[0], resume=True)
    with pytest.raises(InputError, match="holds an earlier search"):
        search(collection(), SMALL, whole[0])


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="each once"):
        Search(("maml", "maml"))
    with pytest.raises(InputError, match="no number to search over"):
        search(collection(), Search(("tanimoto_gp",)), tmp_path / "s")
    tasks = collection()
    alone = TaskCollection(
        tasks.modality,
        tasks.canonical,
        features=tasks.features,
        tasks=tasks.tasks,
        split=dict.fromkeys(tasks.tasks, "meta_train"),
    )
    with pytest.raises(TaskError, match="no meta-valid task"):
        search(alone, SMALL, tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no file of settings"), ("[]", "no file of settings"), ('{"learner": "maml", "magic": 1}', "'magic'"),
     ('{"learner": "maml", "training": {"magic": 1}}', "'magic'")],
)  # fmt: skip
def test_a_file_of_other_things_is_no_file_of_settings(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(FileFormatError, match=said):
        FitSettings.read(tmp_path / "best.json")
    with pytest.raises(FileFormatError, match="cannot be read"):
        FitSettings.read(tmp_path / "nowhere.json")
