"""Votes of neighbours against small examples by hand and a plain numpy version, case by case."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.learners.similarity_search import SimilaritySearch
from metamedica.testing import VectorRaw, vector_batch

RAW = VectorRaw()


def _points(n: int, *, seed: int = 0) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(1, n, 4)))


def _similarity(left: Tensor, right: Tensor) -> np.ndarray:
    return RAW.similarity(left, right)[0].numpy()


def _one_cell(sharpness: float, share: float) -> SimilaritySearch:
    return SimilaritySearch(RAW, sharpness=(sharpness,), prior_shares=(share,)).double()


def test_two_known_cases_by_hand() -> None:
    """Similarities 1 and exp(-1/2) to a known active and a known inactive: weights exp(0) and exp(5 (exp(-1/2) - 1))."""
    support = vector_batch(torch.eye(4)[None, [0, 0]].double(), torch.tensor([[1, 0]]), n_classes=2)
    support.features["vector"][0, 1, 0] = 2.0
    learner = _one_cell(5.0, 0.3)
    law = learner.predict(learner.adapt(support), support.map(lambda value: value[:, :1]).cases)
    assert isinstance(law, Categorical)
    vote = 1 / (1 + np.exp(5 * (np.exp(-0.5) - 1)))
    assert law.probs[0, 0].tolist() == pytest.approx([0.7 * (1 - vote) + 0.15, 0.7 * vote + 0.15])


def _class_cell(x: Tensor, labels: np.ndarray, z: Tensor, sharpness: float, share: float) -> tuple[np.ndarray, float]:
    """Probability of class 1 and leave-one-out log-likelihood of one cell, in plain loops."""

    def probability(similar: np.ndarray, known: np.ndarray) -> float:
        weight = np.exp(sharpness * similar)
        prior = (known.sum() + 0.5) / (len(known) + 1)
        return float((1 - share) * (weight @ known) / weight.sum() + share * prior)

    found = np.array([probability(row, labels) for row in _similarity(z, x)])
    own, score = _similarity(x, x), 0.0
    for case in range(len(labels)):
        rest = np.arange(len(labels)) != case
        p = probability(own[case, rest], labels[rest])
        score += np.log(p if labels[case] else 1 - p)
    return found, score


def test_class_probabilities_are_averaged_over_cells_by_their_leave_one_out_likelihood() -> None:
    x, z, labels = _points(9), _points(5, seed=1), np.array([0, 1, 1, 0, 1, 0, 0, 1, 1])
    cells = [
        _class_cell(x, labels, z, sharpness, share) for sharpness in (2.0, 10.0, 40.0) for share in (0.1, 0.3, 0.9)
    ]
    weight = np.exp([score for _, score in cells])
    want = np.average([p for p, _ in cells], axis=0, weights=weight)
    learner = SimilaritySearch(RAW, sharpness=(2.0, 10.0, 40.0), prior_shares=(0.1, 0.3, 0.9)).double()
    support = vector_batch(x, torch.tensor(labels)[None], n_classes=2)
    law = learner.predict(learner.adapt(support), vector_batch(z, torch.zeros(1, 5)).cases)
    assert isinstance(law, Categorical)
    np.testing.assert_allclose(law.probs[0, :, 1].numpy(), want, atol=1e-12)


def test_regression_of_one_cell_is_the_kernel_average_mixed_with_the_mean_of_the_others() -> None:
    x, z = _points(8), _points(5, seed=1)
    y = np.random.default_rng(2).normal(size=8)
    sharpness, share = 6.0, 0.25

    def mean(similar: np.ndarray, known: np.ndarray) -> float:
        weight = np.exp(sharpness * similar)
        return float((1 - share) * (weight @ known) / weight.sum() + share * known.mean())

    own = _similarity(x, x)
    squares = 0.0
    for case in range(8):
        rest = np.arange(8) != case
        squares += (y[case] - mean(own[case, rest], y[rest])) ** 2
    learner = _one_cell(sharpness, share)
    law = learner.predict(
        learner.adapt(vector_batch(x, torch.tensor(y)[None])), vector_batch(z, torch.zeros(1, 5)).cases
    )
    assert isinstance(law, Normal)
    np.testing.assert_allclose(law.loc[0].numpy(), [mean(row, y) for row in _similarity(z, x)], atol=1e-12)
    np.testing.assert_allclose(law.variance[0].numpy(), (2 + squares) / 10)


def test_the_regression_variance_counts_how_cells_disagree() -> None:
    x, z = _points(8), _points(5, seed=1)
    support = vector_batch(x, torch.tensor(np.random.default_rng(2).normal(size=(1, 8))))
    query = vector_batch(z, torch.zeros(1, 5)).cases
    sharp, blunt = _one_cell(30.0, 0.02), _one_cell(2.0, 0.9)
    both = SimilaritySearch(RAW, sharpness=(30.0, 2.0), prior_shares=(0.02, 0.9)).double()
    cells = [_one_cell(s, p) for s in (30.0, 2.0) for p in (0.02, 0.9)]
    noise = np.array([float(cell.adapt(support).noise) for cell in cells])
    weight = noise**-5.0  # (noise variance)^(-(8 + 2) / 2)
    weight = weight / weight.sum()
    means = np.array([cell.predict(cell.adapt(support), query).mean[0].numpy() for cell in cells])
    law = both.predict(both.adapt(support), query)
    mean = weight @ means
    np.testing.assert_allclose(law.mean[0].numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(law.variance[0].numpy(), weight @ noise + weight @ (means - mean) ** 2, atol=1e-12)
    assert not np.allclose(
        sharp.predict(sharp.adapt(support), query).mean, blunt.predict(blunt.adapt(support), query).mean
    )


def test_one_known_case_is_its_class_mixed_with_its_smoothed_frequency_and_says_nothing_of_the_cells() -> None:
    learner = SimilaritySearch(RAW, prior_shares=(0.2, 0.6)).double()
    state = learner.adapt(vector_batch(_points(1), torch.tensor([[1]]), n_classes=2))
    torch.testing.assert_close(state.weight, torch.full((1, 5, 2), 0.1, dtype=torch.float64))
    law = learner.predict(state, vector_batch(_points(4, seed=1), torch.zeros(1, 4)).cases)
    assert isinstance(law, Categorical)
    want = 0.5 * (0.8 + 0.2 * 0.75) + 0.5 * (0.4 + 0.6 * 0.75)
    torch.testing.assert_close(law.probs[..., 1], torch.full((1, 4), want, dtype=torch.float64))


def test_one_known_number_is_said_everywhere() -> None:
    learner = SimilaritySearch(RAW).double()
    state = learner.adapt(vector_batch(_points(1), torch.tensor([[0.7]], dtype=torch.float64)))
    law = learner.predict(state, vector_batch(_points(4, seed=1), torch.zeros(1, 4)).cases)
    assert isinstance(law, Normal)
    torch.testing.assert_close(law.loc, torch.full((1, 4), 0.7, dtype=torch.float64))
    torch.testing.assert_close(law.variance, torch.full((1, 4), (2 + 0.49) / 3, dtype=torch.float64))


def test_a_support_of_one_class_is_answered_with_doubt_and_the_class_it_lacks_stays_possible() -> None:
    learner = SimilaritySearch(RAW).double()
    support = vector_batch(_points(6), torch.zeros(1, 6, dtype=torch.int64), n_classes=3)
    law = learner.predict(learner.adapt(support), support.cases)
    assert isinstance(law, Categorical)
    assert bool((law.probs[..., 0] > 0.7).all())
    assert bool((law.probs[..., 1:] > 1e-4).all())


def test_it_has_nothing_to_learn_from_earlier_tasks() -> None:
    assert not SimilaritySearch(RAW).learns_from_tasks()
