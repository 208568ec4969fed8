"""The protocol of MoleculeNet's few-shot sets: K of each class, molecules unseen in earlier tasks, and the row without support."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from metamedica.data import catalogue
from metamedica.data.collection import Task, TaskCollection
from metamedica.data.splits import rows_of
from metamedica.errors import InputError, TaskError
from metamedica.reports.protocols.moleculenet import MoleculeNet, no_support, unseen
from metamedica.types import MetaSplit, PreparedCases


def _task(name: str, rows: Sequence[int], labels: Sequence[int]) -> Task:
    return Task(name, "binary", np.array(rows), np.array(labels, dtype=np.int64), classes=("0", "1"))


def _collection(tasks: Sequence[Task], split: dict[str, MetaSplit], cases: int) -> TaskCollection:
    features = {"vector": torch.zeros(cases, 1)}
    texts = [str(number) for number in range(cases)]
    return TaskCollection("synthetic", texts, features=features, tasks={task.name: task for task in tasks}, split=split)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 9), st.data())
def test_the_support_holds_k_of_each_class_and_the_query_all_the_rest(
    negatives: int, positives: int, draw: int, data: st.DataObject
) -> None:
    task = _task("t", range(negatives + positives), [0] * negatives + [1] * positives)
    shots = data.draw(st.integers(1, min(negatives, positives) - 1))
    protocol = MoleculeNet()
    support = protocol.support(task, shots, draw=draw, seed=0)
    assert np.bincount(task.targets[support]).tolist() == [shots, shots]
    query = protocol.query(task, support, draw=draw, seed=0)
    assert sorted([*support.tolist(), *np.flatnonzero(query).tolist()]) == list(range(len(task)))
    if shots > 1:
        assert set(protocol.support(task, shots - 1, draw=draw, seed=0)) < set(support)


def test_a_class_too_small_and_a_regression_are_refused() -> None:
    with pytest.raises(TaskError, match="task 't' has 2 cases of a class; 2 of each need at least 3"):
        MoleculeNet().support(_task("t", range(6), [0, 0, 0, 0, 1, 1]), 2, draw=0, seed=0)
    with pytest.raises(TaskError, match="task 't' has 0 cases of a class; 1 of each need at least 2"):
        MoleculeNet().support(_task("t", range(6), [1] * 6), 1, draw=0, seed=0)
    with pytest.raises(InputError, match="takes K cases of each class; binarise it"):
        MoleculeNet().support(Task("t", "regression", np.arange(6), np.zeros(6)), 2, draw=0, seed=0)


def _dense(seed: int, *, cases: int = 120, train: int = 5) -> TaskCollection:
    """Every molecule is measured in nearly every task, as in Tox21."""
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(train + 2):
        rows = np.flatnonzero(rng.random(cases) < 0.9)
        tasks.append(_task(f"t{number}", rows.tolist(), rng.integers(0, 2, len(rows)).tolist()))
    split: dict[str, MetaSplit] = {task.name: "meta_train" for task in tasks}
    return _collection(tasks, split | {"t0": "meta_test", "t1": "meta_test", "t2": "meta_valid"}, cases)


@settings(max_examples=25)
@given(st.integers(0, 100), st.integers(2, 3))
def test_unseen_molecules_are_in_no_earlier_task_and_every_molecule_is_judged_once(seed: int, parts: int) -> None:
    whole = _dense(seed)
    worlds = unseen(whole, parts=parts, seed=seed)
    assert len(worlds) == parts
    judged: dict[str, list[int]] = {name: [] for name in whole.names("meta_test")}
    for world in worlds:
        test = rows_of(world, world.names("meta_test"))
        for side in ("meta_train", "meta_valid"):
            assert not set(test) & set(rows_of(world, world.names(side)))
        assert not set(rows_of(world, world.names("meta_train"))) & set(rows_of(world, world.names("meta_valid")))
        assert world.names("meta_train")
        for name in judged:
            judged[name] += world[name].rows.tolist()
    assert {name: sorted(rows) for name, rows in judged.items()} == {
        name: sorted(whole[name].rows.tolist()) for name in judged
    }


def test_one_part_takes_the_judged_molecules_out_of_the_earlier_tasks() -> None:
    labels = [0, 1] * 5
    tasks = [_task("test", range(10), labels), _task("train", range(5, 25), labels * 2)]
    (world,) = unseen(_collection(tasks, {"test": "meta_test", "train": "meta_train"}, 25), parts=1)
    assert world["test"].rows.tolist() == list(range(10))
    assert world["train"].rows.tolist() == list(range(10, 25))


def test_unseen_needs_a_part_and_a_split() -> None:
    with pytest.raises(InputError, match="got 0 parts"):
        unseen(_dense(0), parts=0)
    with pytest.raises(TaskError, match="has no meta-split"):
        unseen(_dense(0).with_split({}))


def test_the_row_without_support_ranks_by_a_molecules_own_labels() -> None:
    collection = _dense(3)
    found = no_support(collection).set_index("task")
    assert list(found.index) == ["t0", "t1"]
    for name, row in found.iterrows():
        target = {
            int(r): int(y) for r, y in zip(collection[str(name)].rows, collection[str(name)].targets, strict=True)
        }
        own: dict[int, list[int]] = {}
        for other in collection.names("meta_train"):
            for case, label in zip(collection[other].rows.tolist(), collection[other].targets.tolist(), strict=True):
                own.setdefault(case, []).append(label)
        cases = [case for case in target if case in own]
        truth = [target[case] for case in cases]
        assert row["sum"] == pytest.approx(roc_auc_score(truth, [sum(2 * y - 1 for y in own[case]) for case in cases]))
        assert row["mean"] == pytest.approx(roc_auc_score(truth, [np.mean(own[case]) for case in cases]))


@pytest.mark.mirror
@pytest.mark.parametrize(("name", "score"), [("tox21", 0.855), ("sider", 0.844)])
def test_summing_a_molecules_own_labels_gives_the_known_figures_of_tox21_and_sider(
    name: str, score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Molecules are taken as they are written and not featurised."""
    pytest.importorskip("rdkit")
    from metamedica.modalities.molecules import Molecules

    def as_written(self: Molecules, cases: Sequence[str], **_: Any) -> PreparedCases:
        place = {case: row for row, case in enumerate(dict.fromkeys(cases))}
        return PreparedCases([place[case] for case in cases], list(place), {"none": torch.zeros(len(place), 1)})

    monkeypatch.setattr(Molecules, "prepare", as_written)
    monkeypatch.setattr(Molecules, "version", "as written")  # so that nothing else finds these in the cache
    assert no_support(catalogue.load(name))["sum"].mean() == pytest.approx(score, abs=0.001)
