"""Robustness: what is spoilt is what was asked, nothing else; methods are paired; and molecules lose labels only."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from tests.made_up_hospitals import COLUMNS, hospitals
from torch.distributions import Categorical

from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.reports.robustness import (
    CLEAN,
    Robustness,
    default_methods,
    noisy_labels,
    robustness,
    spoilt_cells,
)
from metamedica.types import CaseBatch, LabelledBatch


@pytest.fixture(scope="module")
def sites() -> TaskCollection:
    return TaskCollection.from_table(
        hospitals(),
        modality="tables",
        case=COLUMNS,
        kind="binary",
        target="died",
        task="site",
        positive="yes",
        cache=False,
    )


@pytest.fixture(scope="module")
def audited(sites: TaskCollection) -> Robustness:
    split = {name: "meta_test" if name in ("H1", "H3") else "meta_train" for name in sites.names()}
    model = MetaLearner("hierarchical_bayes", settings={"trees": 4}).fit(sites.with_split(split))
    return robustness(default_methods(model, "binary"), sites, ["H1", "H3"], shots=20, draws=6)


def test_the_default_stands_beside_the_plain_local_model_at_every_share(audited: Robustness) -> None:
    table = audited.summary()
    assert set(table["method"]) == {"hierarchical_bayes", "linear, local"}
    assert len(table) == 2 * (3 + 3 + 2 + 2)
    assert (table["tasks"] == 2).all()
    assert (table["low"] <= table["loss"]).all()
    assert (table["loss"] <= table["high"]).all()
    np.testing.assert_allclose(table["clean"] - table["spoilt"], table["loss"], atol=1e-12)
    worse = audited.summary("log_loss")
    np.testing.assert_allclose(worse["spoilt"] - worse["clean"], worse["loss"], atol=1e-12)


def test_methods_are_judged_on_the_same_draws_and_a_half_lost_column_costs_accuracy(audited: Robustness) -> None:
    counts = audited.rows.groupby(["method", "harm", "share"]).size()
    assert counts.nunique() == 1
    lost = audited.summary().set_index(["harm", "share", "method"])["loss"]
    assert lost["missing columns", 0.5, "hierarchical_bayes"] > 0.02
    value, low, high = audited.ratio("missing columns", 0.5, method="hierarchical_bayes", rival="linear, local")
    assert low <= value <= high


def test_the_same_seed_gives_the_same_figures(sites: TaskCollection) -> None:
    methods = {"says half": _Same()}
    first, again = (robustness(methods, sites, ["H1"], draws=2, seed=4).rows for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


class _Same:
    """A method that says the same of everybody, and keeps what it was given."""

    def __init__(self, value: float = 0.5) -> None:
        self.value, self.seen = value, []

    def adapt(self, support: LabelledBatch) -> "_Same":
        self.seen.append(support)
        return self

    def predict(self, query: CaseBatch) -> Categorical:
        self.seen.append(query)
        return Categorical(
            probs=torch.tensor([1 - self.value, self.value]).expand(*query.mask.shape, 2), validate_args=False
        )

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Categorical:
        return self.adapt(support).predict(query)


def test_label_noise_changes_so_many_labels_of_the_support_and_no_case(sites: TaskCollection) -> None:
    method = _Same()
    robustness({"same": method}, sites, ["H1"], shots=20, draws=3, harms={"label noise": [0.3]})
    clean, clean_query, spoilt, query = method.seen
    assert ((clean.targets != spoilt.targets).sum(1) == 6).all()
    for name, block in clean.features.items():
        assert block.equal(spoilt.features[name])
        assert clean_query.features[name].equal(query.features[name])


def test_an_empty_column_is_empty_for_support_and_query_alike(sites: TaskCollection) -> None:
    method = _Same()
    robustness({"same": method}, sites, ["H1"], shots=20, draws=4, harms={"missing columns": [0.5]})
    support, query = method.seen[2:]
    assert (support.features["missing"].sum(-1) == 1).all()
    assert (query.features["missing"].sum(-1) == 1).all()
    for block in (support, query):
        gone = block.features["missing"].bool()
        assert (block.features["numbers"][gone] == 0).all()
    assert support.features["missing"][:, 0].unique(dim=0).shape[0] > 1


def test_cells_read_again_unspoilt_are_those_of_the_collection(sites: TaskCollection) -> None:
    task = sites["H1"]
    cases = pd.DataFrame([json.loads(sites.canonical[row]) for row in task.rows], dtype=object)
    again = sites.reader().prepare(spoilt_cells(cases, "outliers x10", 0.0, np.random.default_rng(0)))
    for name, block in again.features.items():
        torch.testing.assert_close(block, sites.features[name][torch.from_numpy(task.rows)])


def test_outliers_hit_so_large_a_share_of_the_numbers_and_no_text() -> None:
    cases = pd.DataFrame({"a": np.arange(1, 401, dtype=float), "b": ["x"] * 400, "c": [True] * 400}, dtype=object)
    ten = spoilt_cells(cases, "outliers x10", 0.1, np.random.default_rng(0))
    factor = (ten["a"] / cases["a"]).astype(float)
    assert set(factor.round(9)) == {1.0, 10.0}
    assert 20 <= (factor > 1).sum() <= 60
    assert ten[["b", "c"]].equals(cases[["b", "c"]])
    far = spoilt_cells(cases, "outliers 10 sd", 0.1, np.random.default_rng(0))
    gap = (far["a"] - cases["a"]).astype(float).abs()
    np.testing.assert_allclose(gap[gap > 0], 10 * cases["a"].astype(float).std(ddof=0))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_noise_of_classes_and_of_numbers_is_as_large_as_it_says(share: float) -> None:
    random = np.random.default_rng(0)
    rows = np.arange(2000)
    three = Task("t", "multiclass", rows, rows % 3, ("a", "b", "c"))
    assert (noisy_labels(three.targets, share, three, random) != three.targets).mean() == pytest.approx(share)
    numbers = Task("t", "regression", rows, np.random.default_rng(1).normal(3, 2, 2000))
    noise = noisy_labels(numbers.targets, share, numbers, random) - numbers.targets
    assert noise.std() == pytest.approx(share * 2, rel=0.1)


def test_of_molecules_only_labels_are_spoilt_and_it_is_said() -> None:
    tails = ("C", "CC", "CCO", "C(F)(F)F", "CCN", "C(=O)O", "CCCC", "CC#N", "CCl", "C1CC1")
    rows = [
        {"smiles": core.format(tail), "pki": 5 + core.count("n") + 0.1 * len(tail)}
        for core in ("c1ccc({})cc1", "c1ccnc({})c1", "C1CCN({})CC1")
        for tail in tails
    ]
    found = TaskCollection.from_table(
        pd.DataFrame(rows), modality="molecules", case="smiles", target="pki", kind="regression", cache=False, n_jobs=1
    )
    model = MetaLearner("tanimoto_gp").fit(found.with_split(dict.fromkeys(found.names(), "meta_train")))
    audit = robustness(default_methods(model, "regression"), found, found.names(), shots=12, draws=2)
    assert set(audit.rows["harm"]) == {CLEAN, "label noise"}
    assert audit.notes[0].startswith("Of molecules only labels are spoilt")
    assert set(audit.summary("rmse")["method"]) == {"tanimoto_gp", "random_forest, local"} or len(audit.summary()) >= 3


def test_what_cannot_be_audited_is_refused_in_a_sentence(sites: TaskCollection) -> None:
    with pytest.raises(InputError, match="0 methods"):
        robustness({}, sites, ["H1"])
    with pytest.raises(InputError, match="shares"):
        robustness({"same": _Same()}, sites, ["H1"], harms={"label noise": [1.0]})
    with pytest.raises(TaskError, match="no task"):
        robustness({"same": _Same()}, sites, [])
    with pytest.raises(TaskError, match="lower the shots"):
        robustness({"same": _Same()}, sites, ["H1"], shots=75)
    with pytest.raises(TaskError, match="mine returned predictions that are not numbers"):
        robustness({"mine": _Same(float("nan"))}, sites, ["H1"], draws=1)
    with pytest.raises(InputError, match="there is no figure 'r2'"):
        robustness({"same": _Same()}, sites, ["H1"], draws=1, harms={"label noise": [0.1]}).summary("r2")
