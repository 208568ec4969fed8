"""The published Fed-Heart split: whole, disjoint, of the published sizes; figures over patients; a goal that can be missed."""

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from benchmark_modules import load_benchmark

SIZES = {"cleveland": (199, 104), "hungarian": (172, 89), "switzerland": (30, 16), "va": (85, 45)}


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("fed_heart", monkeypatch)


def _patients(fed: ModuleType) -> Any:
    """Return two made-up centres of four patients, all of whom are the test part."""
    label = np.array([0, 1, 0, 1, 1, 1, 1, 1])
    centre = np.array(["a"] * 4 + ["b"] * 4)
    return fed.Patients(pd.DataFrame(), pd.DataFrame(), {}, centre, label, np.ones(8, dtype=bool))


@pytest.mark.mirror
def test_the_parts_of_a_centre_are_disjoint_whole_and_of_the_published_sizes(fed: ModuleType) -> None:
    found = fed.patients(fed.published()["split"])
    assert len(found.raw) == len(found.frame) == 740
    for name, sizes in SIZES.items():
        own = found.centre == name
        assert ((own & ~found.test).sum(), (own & found.test).sum()) == sizes
    for name in ("age", "thalach", "oldpeak"):  # the declared rows are those of the file, in its order
        assert np.array_equal(found.frame[name].to_numpy(float), found.raw[name].to_numpy(float))
    assert np.array_equal(found.frame["label"].to_numpy(int), found.label)
    assert not set(found.roles["case"]) & {"slope", "ca", "thal"}


@pytest.mark.mirror
def test_the_published_pooled_accuracy_is_reproduced(fed: ModuleType) -> None:
    facts = fed.published()
    found = fed.patients(facts["split"])
    right = (fed.plain(found)[found.test] > 0.5) == found.label[found.test]
    assert round(right.mean(), 4) == facts["rows"][0]["accuracy"] == 0.7913


@pytest.mark.mirror
def test_a_file_that_gives_other_counts_than_the_published_is_refused(fed: ModuleType) -> None:
    split = fed.published()["split"]
    split["centres"][2]["train"] = 31
    with pytest.raises(fed.FileFormatError, match=r"gives \[30, 16\] training and test patients of switzerland"):
        fed.patients(split)


def test_classes_are_kept_in_proportion_only_where_both_have_enough_cases(fed: ModuleType) -> None:
    rule = {"train_size": 0.66, "random_state": 43, "stratified_above": 2}
    label = np.array([0] * 30 + [1] * 60)
    test = fed.sides(label, **rule)
    assert (test[:30].sum(), test[30:].sum()) == (10, 21)
    scarce = fed.sides(np.array([0] + [1] * 45), **rule)
    assert scarce.sum() == 16


def test_accuracy_is_over_patients_and_over_centres_and_paired_with_the_plain_model(fed: ModuleType) -> None:
    patients = _patients(fed)
    good = np.array([0.1, 0.9, 0.1, 0.9, 0.2, 0.9, 0.9, 0.9])
    plain = np.full(8, 0.9)
    row = fed.judged_row(patients, good, plain)
    assert row["accuracy"] == accuracy_score(patients.label, good > 0.5) == 7 / 8
    assert row["accuracy_over_centres"] == (1 + 3 / 4) / 2
    assert row["minus_plain"] == 1 / 8
    assert row["interval"][0] < 7 / 8 <= row["interval"][1]
    assert row["centres"]["a"]["roc_auc"] == 1.0
    assert row["centres"]["b"]["roc_auc"] is None  # one class: not defined, and not invented


@pytest.mark.parametrize(("accuracy", "met"), [(0.81, True), (0.80, False)])
def test_the_goal_is_the_best_published_accuracy_and_the_page_says_whether_it_is_met(
    fed: ModuleType, accuracy: float, met: bool
) -> None:
    facts = fed.published()
    patients = fed.Patients(
        pd.DataFrame(), pd.DataFrame(), {}, np.array(list(SIZES) * 25), np.tile([0, 1], 50), np.ones(100, dtype=bool)
    )
    right = np.arange(100) < round(accuracy * 100)
    probability = np.where(right, patients.label, 1 - patients.label).astype(float)
    row = fed.judged_row(patients, probability, probability)
    found = {fed.PLAIN: row, **{f"{learner}, {way}": row for learner in fed.METHODS for way in fed.WAYS}}
    judged = fed.goals(found, facts)
    assert [each["met"] for each in judged] == [met, None, None]
    page = fed.markdown(found, facts, judged)
    assert all(name in page for name in found)
    assert ("| yes |" if met else "| no |") in page
