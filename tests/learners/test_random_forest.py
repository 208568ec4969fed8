"""The forest as tensors against scikit-learn's own, grown on the same cases in the same order with the same seed."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch.distributions import Categorical, Normal

from metamedica.learners.random_forest import Forest, RandomForest, in_order, unexplained_variance
from metamedica.testing import VectorRaw, vector_batch

TREES = 20


def _data(n: int, *, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(n, 4)), rng.normal(size=(15, 4))
    return x, np.tanh(x[:, 0]) + 0.3 * rng.normal(size=n), z


def _queries(z: NDArray[Any]) -> Any:
    return vector_batch(torch.tensor(z)[None], torch.zeros(1, len(z))).cases


def _known(x: NDArray[Any], goals: NDArray[Any]) -> tuple[Any, NDArray[Any], NDArray[Any], int]:
    """The same forest, grown here; the sorted cases and goals; the seed."""
    cases, wanted, seed = in_order(x.astype(np.float32), goals.astype(np.float64))
    regression = goals.shape[1] == 1
    forest = RandomForestRegressor(TREES, max_features=1 / 3 if regression else "sqrt", random_state=seed)
    return forest.fit(cases, wanted[:, 0] if regression else wanted), cases, wanted, seed


def _law(x: NDArray[Any], y: NDArray[Any], z: NDArray[Any], n_classes: int | None = None) -> Any:
    learner = RandomForest(VectorRaw(), trees=TREES).double()
    support = vector_batch(torch.tensor(x)[None], torch.tensor(y)[None], n_classes=n_classes)
    return learner.predict(learner.adapt(support), _queries(z))


def test_the_mean_is_scikit_learns_prediction() -> None:
    x, y, z = _data(25)
    law = _law(x, y, z)
    assert isinstance(law, Normal)
    forest, *_ = _known(x, y[:, None])
    np.testing.assert_allclose(law.loc[0].numpy(), forest.predict(z.astype(np.float32)), atol=1e-12)


def test_the_variance_is_the_spread_of_the_trees_and_what_out_of_bag_residuals_show_beyond_it() -> None:
    x, y, z = _data(25)
    forest, cases, wanted, _ = _known(x, y[:, None])
    spread = np.var([tree.predict(z) for tree in forest.estimators_], axis=0)
    total, counted = 2.0, 2.0
    for case in range(25):
        out = [
            tree.predict(cases[[case]])[0]
            for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True)
            if case not in drawn
        ]
        if len(out) > 1:
            total += (wanted[case, 0] - np.mean(out)) ** 2 - np.var(out)
            counted += 1
    np.testing.assert_allclose(unexplained_variance(forest, cases, wanted[:, 0]), total / counted)
    np.testing.assert_allclose(_law(x, y, z).variance[0].numpy(), spread + total / counted, atol=1e-9)


def test_the_unexplained_variance_has_a_floor() -> None:
    x = np.repeat(np.eye(4), 50, axis=0).astype(np.float32)
    y = x @ np.array([-1.0, 0, 1, 2])
    forest = RandomForestRegressor(TREES, random_state=0).fit(x, y)
    assert unexplained_variance(forest, x, y) == 0.05


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_the_smoothed_ones_of_a_classification_forest(n_classes: int) -> None:
    x, y, z = _data(24)
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    law = _law(x, labels, z, n_classes)
    assert isinstance(law, Categorical)
    _, cases, wanted, seed = _known(x, np.eye(n_classes)[labels])
    known = RandomForestClassifier(TREES, max_features="sqrt", random_state=seed).fit(cases, wanted.argmax(1))
    probability = known.predict_proba(z.astype(np.float32))
    smoothed = (24 * probability + 0.5) / (24 + n_classes / 2)
    np.testing.assert_allclose(law.probs[0].numpy(), smoothed, atol=1e-12)


def test_a_support_of_one_class_says_it_but_for_half_a_case() -> None:
    x, _, z = _data(6)
    law = _law(x, np.ones(6, dtype=np.int64), z, 2)
    np.testing.assert_allclose(law.probs[0].numpy(), np.tile([0.5 / 7, 6.5 / 7], (15, 1)))


def test_a_support_of_one_case_says_its_target_with_unit_variance() -> None:
    x, _, z = _data(1)
    law = _law(x, np.array([0.8]), z)
    np.testing.assert_allclose(law.loc[0].numpy(), 0.8)
    np.testing.assert_allclose(law.variance[0].numpy(), 1.0)


def test_the_last_bit_of_a_feature_decides_neither_order_nor_seed() -> None:
    x, y, _ = _data(12)
    x = (np.rint(x * 256) / 256).astype(np.float32)
    shaken = np.nextafter(x, np.float32(10))
    order = np.random.default_rng(1).permutation(12)
    cases, goals, seed = in_order(x, y[:, None])
    again, goals_again, seed_again = in_order(shaken[order], y[order, None])
    assert seed == seed_again
    np.testing.assert_array_equal(goals, goals_again)
    np.testing.assert_allclose(cases, again, atol=1e-5)
    assert in_order(x + np.float32(0.1), y[:, None])[2] != seed


def test_a_feature_just_at_a_threshold_goes_where_scikit_learn_sends_it() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.integers(0, 4, size=(30, 4)).astype(float), rng.integers(0, 7, size=(15, 4)) / 2
    y = np.sin(x[:, 0]) + x[:, 1]
    forest, *_ = _known(x, y[:, None])
    thresholds = np.concatenate([tree.tree_.threshold[tree.tree_.feature >= 0] for tree in forest.estimators_])
    assert np.isin(z, thresholds).any()
    np.testing.assert_allclose(_law(x, y, z).loc[0].numpy(), forest.predict(z.astype(np.float32)), atol=1e-12)


def test_tasks_of_unequal_trees_walk_their_own() -> None:
    learner = RandomForest(VectorRaw(), trees=TREES).double()
    x, y, z = _data(20)
    both = torch.tensor(np.stack([x, x[::-1]]))
    targets = torch.tensor(np.stack([y, np.repeat([0.0, 1.0], 10)]))
    state = learner.adapt(vector_batch(both, targets))
    assert isinstance(state, Forest)
    law = learner.predict(state, vector_batch(torch.tensor(np.stack([z, z])), torch.zeros(2, 15)).cases)
    np.testing.assert_allclose(law.mean[0].numpy(), _law(x, y, z).mean[0].numpy(), atol=1e-12)
    np.testing.assert_allclose(
        law.mean[1].numpy(), _law(x[::-1].copy(), targets[1].numpy(), z).mean[0].numpy(), atol=1e-12
    )


def test_it_has_nothing_to_learn_from_earlier_tasks() -> None:
    assert not RandomForest(VectorRaw()).learns_from_tasks()
