"""The leakage report against counting one case at a time, and against scikit-learn and SciPy."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.leakage import LeakageReport, case_groups, leakage_report
from metamedica.errors import InputError
from metamedica.types import META_SPLITS

_CASES = 30
_KINDS = ("binary", "regression mM", "regression nM", "multiclass")
Drawn = list[tuple[str, dict[int, int], str | None]]
"""Of each task: kind and unit, value by case, meta-split."""


@st.composite
def _tasks(draw: st.DrawFn) -> Drawn:
    drawn: Drawn = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(_KINDS))
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        rows = rng.permutation(_CASES)[: draw(st.integers(0, _CASES))]
        values = rng.integers(0, 2 if kind == "binary" else 3, len(rows))
        side = draw(st.sampled_from([*META_SPLITS, "meta_train", "meta_test", None]))
        drawn.append((kind, dict(zip(rows.tolist(), values.tolist(), strict=True)), side))
    return drawn


def _collection(drawn: Drawn, *, split: bool) -> TaskCollection:
    tasks = {}
    for number, (about, values, _) in enumerate(drawn):
        kind, *unit = about.split()
        rows = np.array(list(values), dtype=np.int64)
        targets = np.array(list(values.values()), dtype=np.float64 if kind == "regression" else np.int64)
        classes = {"binary": ("0", "1"), "multiclass": ("a", "b", "c")}.get(kind)
        tasks[f"t{number}"] = Task(f"t{number}", kind, rows, targets, classes=classes, unit=unit[0] if unit else None)
    sides: Any = {f"t{n}": side for n, (_, _, side) in enumerate(drawn) if side is not None} if split else {}
    features = {"vector": torch.zeros(_CASES, 1)}
    return TaskCollection("synthetic", [f"c{i}" for i in range(_CASES)], features=features, tasks=tasks, split=sides)


def _others(drawn: Drawn, number: int, *, split: bool) -> Drawn:
    return [each for place, each in enumerate(drawn) if place != number and (not split or each[2] == "meta_train")]


@given(_tasks(), st.booleans(), st.lists(st.integers(0, 8), min_size=_CASES, max_size=_CASES))
def test_shared_cases_and_groups_are_those_counted_one_by_one(drawn: Drawn, split: bool, codes: list[int]) -> None:
    split = split and any(side for _, _, side in drawn)
    report = leakage_report(_collection(drawn, split=split), groups=[f"g{code}" for code in codes])
    judged = [n for n, (_, _, side) in enumerate(drawn) if not split or side == "meta_test"]
    assert [task.name for task in report.judged] == [f"t{number}" for number in judged]
    for number, found in zip(judged, report.judged, strict=True):
        others = _others(drawn, number, split=split)
        cases = set().union(*(values for _, values, _ in others))
        own = set(drawn[number][1])
        groups = {codes[case] for case in cases}
        assert (found.cases, found.shared) == (len(own), len(own & cases))
        assert found.shared_groups == sum(codes[case] in groups for case in own)
    sides = {
        side: set().union(*(values for _, values, each in drawn if each == side))
        for side in META_SPLITS
        if split and any(each == side for _, _, each in drawn)
    }
    assert [(s.left, s.right, s.cases, s.groups) for s in report.shared] == [
        (a, b, len(sides[a] & sides[b]), len({codes[c] for c in sides[a]} & {codes[c] for c in sides[b]}))
        for a in sides
        for b in list(sides)[list(sides).index(a) + 1 :]
    ]
    whole = {"all": set().union(*(values for _, values, _ in drawn))}
    assert report.cases == {side: len(cases) for side, cases in (sides if split else whole).items()}
    shares = [task.shared / task.cases for task in report.judged if task.cases]
    assert report.share == pytest.approx(sum(shares) / len(shares) if shares else 0.0)


@settings(max_examples=200)
@given(_tasks(), st.booleans())
def test_the_no_support_score_is_that_of_the_cases_own_labels_elsewhere(drawn: Drawn, split: bool) -> None:
    split = split and any(side for _, _, side in drawn)
    report = leakage_report(_collection(drawn, split=split))
    expected: dict[tuple[str, str], list[float]] = {}
    for found in report.judged:
        number = int(found.name[1:])
        about, values, _ = drawn[number]
        labels = {
            case: [
                other[case] for kind, other, _ in _others(drawn, number, split=split) if kind == about and case in other
            ]
            for case in values
        }
        known = [case for case in values if labels[case]]
        target = [values[case] for case in known]
        if about == "multiclass":
            known = []
        assert found.scored == len(known)
        if len(known) < 10 or len(set(target)) < 2:
            assert (found.metric, found.score, found.sum_score) == (None, None, None)
            continue
        means = [float(np.mean(labels[case])) for case in known]
        if about == "binary":
            sums = [sum(2 * label - 1 for label in labels[case]) for case in known]
            assert found.metric == "ROC-AUC"
            assert found.score == pytest.approx(roc_auc_score(target, means))
            assert found.sum_score == pytest.approx(roc_auc_score(target, sums))
            expected.setdefault(("ROC-AUC", "sum"), []).append(found.sum_score)
        else:
            assert (found.metric, found.sum_score) == ("Spearman", None)
            assert found.score == pytest.approx(spearmanr(means, target).statistic if len(set(means)) > 1 else 0.0)
        assert found.score is not None
        expected.setdefault((found.metric, "mean"), []).append(found.score)
    rows = {(row.metric, row.rule): (row.score, row.tasks) for row in report.no_support}
    assert set(rows) == set(expected)
    for key, scores in expected.items():
        assert rows[key] == (pytest.approx(np.mean(scores)), len(scores))


@pytest.mark.parametrize(("cases", "scored"), [(9, False), (10, True)])
def test_fewer_than_ten_cases_with_labels_elsewhere_get_no_score(cases: int, scored: bool) -> None:
    values = {case: case % 2 for case in range(cases)}
    report = leakage_report(
        _collection([("binary", values, "meta_train"), ("binary", values, "meta_test")], split=True)
    )
    assert (report.judged[0].scored, report.judged[0].score) == (cases, 1.0 if scored else None)


@given(st.integers(0, 1000))
def test_equal_labels_elsewhere_rank_nothing_whatever_the_tasks_own_targets(seed: int) -> None:
    """A task's own targets must not show through: in floating point, 0.1 + 0.2 - 0.2 is not 0.1."""
    rng = np.random.default_rng(seed)
    rows = np.arange(20)
    own, same = rng.normal(size=20), np.full(20, 0.1)
    tasks = {name: Task(name, "regression", rows, values) for name, values in (("own", own), ("same", same))}
    features = {"vector": torch.zeros(20, 1)}
    collection = TaskCollection("synthetic", [str(i) for i in range(20)], features=features, tasks=tasks)
    assert leakage_report(collection).judged[0].score == 0.0


@given(_tasks(), st.booleans())
def test_the_closest_pairs_are_those_that_share_most_of_the_smaller(drawn: Drawn, split: bool) -> None:
    split = split and any(side for _, _, side in drawn)
    report = leakage_report(_collection(drawn, split=split))
    pairs = []
    for one, (_, left, left_side) in enumerate(drawn):
        for two, (_, right, right_side) in enumerate(drawn):
            wanted = (left_side, right_side) == ("meta_test", "meta_train") if split else one < two
            both = len(set(left) & set(right))
            if wanted and both:
                pairs.append((-both / min(len(left), len(right)), -both, f"t{one}", f"t{two}"))
    assert [(-pair.share, -pair.cases, pair.left, pair.right) for pair in report.closest] == sorted(pairs)[:10]


def _leaky() -> LeakageReport:
    values = {case: case % 2 for case in range(20)}
    drawn: Drawn = [
        ("binary", values, "meta_train"),
        ("binary", values, "meta_test"),
        ("binary", {25: 1}, "meta_valid"),
    ]
    return leakage_report(_collection(drawn, split=True), groups=[f"g{case // 2}" for case in range(_CASES)])


def test_a_copied_task_is_fully_leaked_and_the_text_says_so() -> None:
    report = _leaky()
    assert report.share == 1.0
    assert {(row.rule, row.score) for row in report.no_support} == {("mean", 1.0), ("sum", 1.0)}
    text = report.as_text()
    for line in (
        "meta_train: 1 tasks, 20 cases",
        "meta_train and meta_valid: 0 shared cases, 0 shared groups",
        "meta_train and meta_test: 20 shared cases, 10 shared groups",
        "mean share of meta-test task's cases that occur in meta-train tasks too: 100.0%",
        "no-support row: ROC-AUC 1.000, mean of 1 tasks: what the mean of a case's own labels in meta-train tasks tells",
        "  t1: 20 of 20 cases shared; ROC-AUC 1.000 with no support (20 cases)",
        "to judge on unseen cases, take shared cases out of meta-training (molecule_disjoint)",
    ):
        assert line in text


def test_a_report_is_a_json_value_with_its_share() -> None:
    told = json.loads(json.dumps(_leaky().as_dict(), allow_nan=False))
    assert told["share"] == 1.0
    assert told["judged"][0]["shared_groups"] == 20
    assert told["closest"] == [{"left": "t1", "right": "t0", "cases": 20, "share": 1.0}]


def test_without_a_split_every_task_is_held_against_the_others() -> None:
    report = leakage_report(_collection([("binary", {0: 1, 1: 0}, None), ("binary", {1: 0}, None)], split=False))
    assert [(task.name, task.shared) for task in report.judged] == [("t0", 1), ("t1", 1)]
    assert "no meta-split: each task is compared with the other tasks" in report.as_text()
    assert "molecule_disjoint" not in report.as_text()


def test_only_the_tasks_that_share_most_are_listed() -> None:
    drawn: Drawn = [("binary", {case: case % 2 for case in range(size + 1)}, None) for size in range(13)]
    text = leakage_report(_collection(drawn, split=False)).as_text()
    assert "  t12: 12 of 13 cases shared" in text
    assert "  and 3 more tasks" in text
    assert "  t0:" not in text


def test_a_collection_without_tasks_has_a_report_too() -> None:
    report = leakage_report(_collection([], split=False))
    assert (report.tasks, report.cases, report.judged, report.share) == ({"all": 0}, {"all": 0}, [], 0.0)
    assert report.as_text().startswith("all: 0 tasks, 0 cases")


def test_groups_that_are_not_one_a_case_are_refused() -> None:
    with pytest.raises(InputError, match="got 1 groups for 30 cases; give one group per case"):
        leakage_report(_collection([], split=False), groups=["a"])


def test_groups_of_cases_come_from_their_modality(words: Any) -> None:
    frame = pd.DataFrame({"word": ["apple", "bread", "amber"], "value": [1.0, 2.0, 3.0]})
    read = TaskCollection.from_table(frame, modality="words", case="word", target="value", kind="regression")
    assert dict(zip(read.canonical, case_groups(read), strict=True)) == {"apple": "a", "bread": "b", "amber": "a"}
