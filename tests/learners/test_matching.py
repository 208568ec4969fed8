"""Attention by hand, scikit-learn's nearest neighbour and kernel weights at its limits, and tasks whose best answer is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.ridge import PRIOR_CASES
from metamedica.learners.matching import Matching
from metamedica.testing import SIZE, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

WIDE, NOISE, SURE = 8, 0.3, 0.9


def _plain(*, temperature: float = 0.1) -> Matching:
    """On the vectors as they are."""
    return Matching(VectorRaw(), temperature=temperature).double()


def _law(learner: Matching, support: LabelledBatch, query: CaseBatch) -> Categorical | Normal:
    with torch.no_grad():
        law = learner.predict(learner.adapt(support), query)
    assert isinstance(law, Categorical | Normal)
    return law


def _by_hand(temperature: float, n_classes: int = 2) -> list[float]:
    """Class 0 towards (1, 0) and (-1, 0), class 1 towards (0, 1); asked at (3, 4), cosines 0.6, -0.6 and 0.8."""
    points = torch.tensor([[[2.0, 0.0], [-1.0, 0.0], [0.0, 5.0]]], dtype=torch.float64)
    support = vector_batch(points, torch.tensor([[0, 0, 1]]), n_classes=n_classes)
    asked = vector_batch(torch.tensor([[[3.0, 4.0]]], dtype=torch.float64), torch.zeros(1, 1)).cases
    law = _law(_plain(temperature=temperature), support, asked)
    assert isinstance(law, Categorical)
    return law.probs[0, 0].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_probabilities_are_the_attention_that_each_class_gets_by_hand(temperature: float) -> None:
    votes = [math.exp(cosine / temperature) for cosine in (0.6, -0.6, 0.8)]
    assert _by_hand(temperature) == pytest.approx([sum(votes[:2]) / sum(votes), votes[2] / sum(votes)])


def test_a_class_without_cases_has_half_a_case() -> None:
    """(1/2) / (3 + 3/2) = 1/9, and the others share the rest by their attention."""
    two = _by_hand(1.0)
    assert _by_hand(1.0, 3) == pytest.approx([8 / 9 * two[0], 8 / 9 * two[1], 1 / 9])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_low_temperature_is_scikit_learns_nearest_neighbour_by_cosine(kind: str) -> None:
    episodes = vector_episodes(kind)
    law = _law(_plain(temperature=1e-4), episodes.support, episodes.query.cases)
    assert isinstance(law, Categorical)
    for task in range(3):
        known = KNeighborsClassifier(1, metric="cosine")
        known.fit(episodes.support.features["vector"][task].numpy(), episodes.support.targets[task].numpy())
        want = known.predict(episodes.query.features["vector"][task].numpy())
        assert law.probs[task].argmax(-1).tolist() == want.tolist()


def test_a_high_temperature_says_the_class_frequencies() -> None:
    episodes = vector_episodes("multiclass")
    law = _law(_plain(temperature=1e9), episodes.support, episodes.query.cases)
    assert isinstance(law, Categorical)
    want = torch.tensor([3 / 8, 3 / 8, 2 / 8], dtype=torch.float64).expand(3, 5, 3)
    torch.testing.assert_close(law.probs, want, atol=1e-8, rtol=0)


def _weighted_mean(x: np.ndarray, y: np.ndarray, z: np.ndarray, temperature: float) -> np.ndarray:
    """On the unit sphere exp(cosine / T) is a squared exponential kernel: |a - b|^2 = 2 - 2 cosine."""
    x, z = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, z))
    weight = rbf_kernel(z, x, gamma=1 / (2 * temperature))
    return weight @ y / weight.sum(1)


def test_regression_is_the_kernel_average_on_the_sphere_and_its_variance_is_that_of_refits() -> None:
    episodes, learner = vector_episodes("regression"), _plain()
    with torch.no_grad():
        learner.log_temperature.fill_(math.log(0.4))
        learner.log_variance.fill_(math.log(0.7))
    law = _law(learner, episodes.support, episodes.query.cases)
    assert isinstance(law, Normal)
    for task in range(3):
        x, y = episodes.support.features["vector"][task].numpy(), episodes.support.targets[task].numpy()
        z = episodes.query.features["vector"][task].numpy()
        np.testing.assert_allclose(law.mean[task].numpy(), _weighted_mean(x, y, z, 0.4), atol=1e-12)
        squares = 0.0
        for case in range(8):
            rest = np.arange(8) != case
            squares += float(y[case] - _weighted_mean(x[rest], y[rest], x[[case]], 0.4)[0]) ** 2
        want = (PRIOR_CASES * 0.7 + squares) / (PRIOR_CASES + 8)
        np.testing.assert_allclose(law.variance[task].numpy(), want, rtol=1e-12)


def test_a_single_case_says_its_target_with_the_learned_variance() -> None:
    learner = _plain()
    with torch.no_grad():
        learner.log_variance.fill_(math.log(0.3))
    support = vector_batch(torch.ones(1, 1, SIZE).double(), torch.full((1, 1), 1.7).double())
    law = _law(learner, support, vector_episodes("regression").query.cases.map(lambda value: value[:1]))
    torch.testing.assert_close(law.mean, torch.full((1, 5), 1.7).double())
    torch.testing.assert_close(law.variance, torch.full((1, 5), 0.3).double())


def test_the_length_of_an_embedding_does_not_matter() -> None:
    episodes = vector_episodes("binary")
    longer = {"vector": episodes.query.features["vector"] * 30}
    here = _law(_plain(), episodes.support, episodes.query.cases)
    there = _law(_plain(), episodes.support, CaseBatch(longer, episodes.query.mask))
    torch.testing.assert_close(there.probs, here.probs)


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_batch(torch.ones(1, 3, SIZE), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        Matching(VectorEncoder()).adapt(support)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_the_gradient_stays_finite_at_any_temperature_with_padding_and_an_absent_class(kind: str) -> None:
    torch.manual_seed(0)
    for temperature in (1e-3, 1e3):
        learner, episodes = Matching(VectorEncoder(), temperature=temperature), vector_episodes(kind)
        mask = torch.ones(3, 8, dtype=torch.bool)
        mask[1, 2:] = False  # two cases: for classes, of two of the three
        features = {"vector": episodes.support.features["vector"].float()}
        targets = episodes.support.targets.float() if kind == "regression" else episodes.support.targets
        support = LabelledBatch(CaseBatch(features, mask), targets * mask, kind, episodes.support.n_classes)
        asked = CaseBatch({"vector": episodes.query.features["vector"].float()}, episodes.query.mask)
        law = learner.predict(learner.adapt(support), asked)
        (-law.log_prob(episodes.query.targets)).mean().backward()
        slopes = [value.grad for value in learner.parameters() if value.grad is not None]
        assert len(slopes) >= 3
        assert all(bool(slope.isfinite().all()) for slope in slopes)


def _episodes(count: int, seed: int, *, classes: bool = False) -> EpisodeBatch:
    """Coordinate 0 has two sides and each task a level (N(0, 1)) or a likely class on each; seven louder coordinates say nothing.

    Five known cases a side. Regression: the level plus noise. Classes: the side's class with probability `SURE`.
    """
    random = torch.Generator().manual_seed(seed)
    side = (torch.arange(30) % 2).expand(count, 30)
    x = 2 * torch.randn(count, 30, WIDE, generator=random)
    x[..., 0] = (2 * side - 1) * (0.5 + 0.25 * x[..., 0].abs())
    if classes:
        flip = torch.rand(count, 1, generator=random) < 0.5
        y = ((side == 1) ^ flip ^ (torch.rand(count, 30, generator=random) > SURE)).long()
    else:
        level = torch.randn(count, 2, generator=random)
        y = level.gather(1, side) + NOISE * torch.randn(count, 30, generator=random)
    known, asked = (
        vector_batch(x[:, part], y[:, part].clone(), n_classes=2 if classes else None)
        for part in (slice(10), slice(10, 30))
    )
    return EpisodeBatch(known, asked, torch.arange(count))


def _meta_trained(*, classes: bool) -> tuple[Matching, Matching]:
    """The learner before and after."""
    torch.manual_seed(0)
    before, learner = Matching(VectorEncoder(WIDE)), Matching(VectorEncoder(WIDE))
    before.load_state_dict(learner.state_dict())
    optimiser = torch.optim.Adam(learner.parameters(), 0.05)
    for step in range(150):
        loss = learner.meta_loss(_episodes(16, 1000 + step, classes=classes))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return before, learner


def _figures(learner: Matching, episodes: EpisodeBatch) -> tuple[float, float]:
    """Return squared error and negative log-likelihood."""
    law = _law(learner, episodes.support, episodes.query.cases)
    error = (law.mean - episodes.query.targets).square().mean()
    return float(error), -float(episodes.query.log_likelihood(law).mean())


def test_meta_training_on_levels_comes_near_the_exact_posterior_that_knows_the_coordinate() -> None:
    """The posterior of a level given five cases has variance 1 / (1 + 5 / noise^2); nothing can beat its predictive law."""
    new = _episodes(200, 1)
    before, after = _meta_trained(classes=False)
    best = NOISE**2 + 1 / (1 + 5 / NOISE**2)
    least = 0.5 * math.log(2 * math.pi * math.e * best)
    error, surprise = _figures(after, new)
    assert best == pytest.approx(0.1077, abs=1e-3)
    assert 0.9 * best < error < 1.15 * best
    assert least - 0.05 < surprise < least + 0.1
    assert _figures(before, new)[0] > 5 * best


def _accuracy(learner: Matching, episodes: EpisodeBatch) -> float:
    law = _law(learner, episodes.support, episodes.query.cases)
    assert isinstance(law, Categorical)
    return float((law.probs.argmax(-1) == episodes.query.targets).double().mean())


def test_meta_training_on_classes_comes_near_the_share_of_sure_cases() -> None:
    new = _episodes(200, 1, classes=True)
    before, after = _meta_trained(classes=True)
    assert _accuracy(before, new) < 0.75
    assert SURE - 0.03 < _accuracy(after, new) < SURE + 0.02
