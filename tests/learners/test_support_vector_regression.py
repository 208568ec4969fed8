"""Support vector regression against scikit-learn's own machine and its own cross-validation."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVR
from torch.distributions import Normal

from metamedica.errors import TaskError
from metamedica.learners.support_vector_regression import SupportVectorRegression
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, LabelledBatch


def _cases(x: np.ndarray) -> CaseBatch:
    return CaseBatch({"vector": torch.tensor(x)[None]}, torch.ones(1, len(x), dtype=torch.bool))


def _support(x: np.ndarray, y: np.ndarray) -> LabelledBatch:
    return LabelledBatch(_cases(x), torch.tensor(y)[None], "regression")


def _data(n: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.normal(size=n), rng.normal(size=(7, 3))


@pytest.mark.parametrize("cost", [0.3, 10.0])
def test_with_one_cost_the_mean_is_scikit_learns(cost: float) -> None:
    x, y, z = _data()
    learner = SupportVectorRegression(VectorRaw(3), costs=(cost,))
    law = learner.predict(learner.adapt(_support(x, y)), _cases(z))
    assert isinstance(law, Normal)
    expected = SVR(kernel="rbf", gamma=0.5, C=cost, epsilon=0.1).fit(x, y).predict(z)
    np.testing.assert_allclose(law.mean[0].numpy(), expected, atol=2e-3)  # libsvm stops at a tolerance of 1e-3


def test_the_cost_with_the_least_error_on_hidden_folds_is_chosen_and_its_error_is_the_variance() -> None:
    x, y, _ = _data()
    order = sorted(range(len(x)), key=lambda i: (x[i].tobytes(), y[i].tobytes()))
    fold = np.arange(len(x)) % 5
    squares = {}
    for cost in (0.3, 10.0):
        left, right, total = x[order], y[order], 0.0
        for number in range(5):
            known = fold != number
            machine = SVR(kernel="rbf", gamma=0.5, C=cost, epsilon=0.1).fit(left[known], right[known])
            total += float(((machine.predict(left[~known]) - right[~known]) ** 2).sum())
        squares[cost] = total
    best = min(squares, key=lambda cost: squares[cost])
    both = SupportVectorRegression(VectorRaw(3), costs=(0.3, 10.0)).adapt(_support(x, y))
    alone = SupportVectorRegression(VectorRaw(3), costs=(best,)).adapt(_support(x, y))
    assert torch.equal(both.weight, alone.weight)
    assert float(both.variance) == pytest.approx((2 + squares[best]) / (2 + len(x)), abs=1e-3)


def test_classes_are_refused() -> None:
    x, _, _ = _data(4)
    batch = LabelledBatch(_cases(x), torch.tensor([[0, 1, 0, 1]]), "binary", 2)
    with pytest.raises(TaskError, match="cannot learn a binary task"):
        SupportVectorRegression(VectorRaw(3)).adapt(batch)
