"""Gaussian prototypes against the explicit inverse of the paper's covariance."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.learners.mahalanobis_prototypes import MahalanobisPrototypes
from metamedica.testing import SIZE, VectorEncoder, vector_batch
from metamedica.types import Encoder, Features


class Same(Encoder):
    """The vectors as they are."""

    dim = SIZE

    def forward(self, features: Features) -> Tensor:
        return features["vector"]


def _data(labels: list[int], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    known = np.array(labels)
    return rng.normal(size=(len(labels), SIZE)) + known[:, None], known, rng.normal(size=(6, SIZE))


def _by_inverse(
    x: np.ndarray, labels: np.ndarray, z: np.ndarray, n_classes: int, *, most_share: float, ridge: float
) -> np.ndarray:
    scores = []
    for k in range(n_classes):
        own = x[labels == k]
        n = len(own)
        share = min(n / (n + 1), most_share)
        spread = np.cov(own.T) if n > 1 else np.zeros((SIZE, SIZE))
        inverse = np.linalg.inv(share * spread + (1 - share) * np.cov(x.T) + ridge * np.eye(SIZE))
        away = z - own.mean(0)
        scores.append(-0.5 * np.einsum("md,de,me->m", away, inverse, away))
    weight = np.exp(np.array(scores).T)
    return weight / weight.sum(1, keepdims=True)


def _law(
    learner: MahalanobisPrototypes, x: np.ndarray, labels: np.ndarray, z: np.ndarray, n_classes: int
) -> Categorical:
    support = vector_batch(torch.tensor(x)[None], torch.tensor(labels)[None], n_classes=n_classes)
    law = learner.predict(learner.adapt(support), vector_batch(torch.tensor(z)[None], torch.zeros(1, len(z))).cases)
    assert isinstance(law, Categorical)
    return law


@pytest.mark.parametrize(("most_share", "ridge"), [(1.0, 1.0), (0.1, 0.1)])
def test_probabilities_are_those_of_the_explicit_inverse(most_share: float, ridge: float) -> None:
    for labels, n_classes in (([0, 1, 1, 0, 1], 2), ([2, 0, 1, 0, 0, 2, 0], 3)):
        x, known, z = _data(labels)
        law = _law(MahalanobisPrototypes(Same(), most_share=most_share, ridge=ridge), x, known, z, n_classes)
        want = _by_inverse(x, known, z, n_classes, most_share=most_share, ridge=ridge)
        np.testing.assert_allclose(law.probs[0].numpy(), want, atol=1e-10)


def test_classes_that_differ_in_spread_only_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 40)
    x = rng.normal(size=(80, SIZE)) * np.where(labels, 5.0, 0.3)[:, None]
    near, far = np.full((1, SIZE), 0.1), np.full((1, SIZE), 4.0)
    law = _law(MahalanobisPrototypes(Same(), ridge=0.1), x, labels, np.vstack([near, far]), 2)
    assert float(law.probs[0, 1, 1]) > 0.99
    assert float(law.probs[0, 1, 1]) > float(law.probs[0, 0, 1])


def test_a_class_without_cases_has_half_a_case_and_leaves_the_odds_of_the_others() -> None:
    x, known, z = _data([0, 1, 1, 0, 1])
    two = _law(MahalanobisPrototypes(Same()), x, known, z, 2).probs[0]
    three = _law(MahalanobisPrototypes(Same()), x, known, z, 3).probs[0]
    torch.testing.assert_close(three[:, 2], torch.full((6,), 0.5 / 6.5).double())
    torch.testing.assert_close(three[:, :2], two * (1 - 0.5 / 6.5))


def test_a_support_of_one_class_is_refused() -> None:
    x, known, z = _data([1, 1, 1])
    with pytest.raises(TaskError, match="one class only"):
        _law(MahalanobisPrototypes(VectorEncoder()).double(), x, known, z, 2)
