"""The head against scikit-learn and the primal form, its gradient against finite differences, and a penalty whose best value is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.distributions import Categorical, Normal

from gradient_world import check_meta_gradient, check_single_precision, differences, meta_gradient
from metamedica.errors import TaskError
from metamedica.functional.ridge import RidgeFit
from metamedica.learners.ridge_head import RidgeHead
from metamedica.testing import SIZE, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, LabelledBatch, Law, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
NOISE_VARIANCE = 0.5


def _learner(dim: int = 3) -> RidgeHead:
    torch.manual_seed(0)
    learner = RidgeHead(VectorEncoder(dim=dim)).double()
    with torch.no_grad():
        learner.log_penalty.fill_(math.log(0.3))
        learner.log_scale.fill_(math.log(5.0))
        learner.bias.fill_(0.4)
    return learner


def _law(learner: RidgeHead, episodes: EpisodeBatch) -> Law:
    with torch.no_grad():
        return learner.predict(learner.adapt(episodes.support), episodes.query.cases)


def _embedding(learner: RidgeHead, batch: LabelledBatch, task: int) -> np.ndarray:
    return learner.encoder(batch.features)[task].detach().numpy() / learner.encoder.dim**0.5


@pytest.mark.parametrize("dim", [3, 20])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_class_logits_are_scikit_learns_ridge_on_one_hot_classes_scaled_with_more_and_fewer_cases_than_columns(
    kind: str, dim: int
) -> None:
    episodes, learner = vector_episodes(kind), _learner(dim)
    law = _law(learner, episodes)
    assert isinstance(law, Categorical)
    for task in range(3):
        classes = np.eye(episodes.support.n_classes or 0)[episodes.support.targets[task].numpy()]
        known = Ridge(alpha=0.3).fit(_embedding(learner, episodes.support, task), classes)
        logits = 5 * known.predict(_embedding(learner, episodes.query, task))
        if kind == "binary":
            logits = logits + np.array([0, 0.4])
        want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(law.probs[task].numpy(), want, rtol=1e-10)


@pytest.mark.parametrize("dim", [3, 20])
def test_the_law_of_a_number_is_bayesian_linear_regression_in_the_primal_form(dim: int) -> None:
    episodes, learner = vector_episodes("regression"), _learner(dim)
    law, fit = _law(learner, episodes), learner.adapt(episodes.support)
    assert isinstance(law, Normal)
    assert isinstance(fit, RidgeFit)
    for task in range(3):
        x, z = _embedding(learner, episodes.support, task), _embedding(learner, episodes.query, task)
        y = episodes.support.targets[task].numpy()
        inputs, shifted = x - x.mean(0), z - x.mean(0)
        inverse = np.linalg.inv(inputs.T @ inputs + 0.3 * np.eye(dim))
        np.testing.assert_allclose(
            law.mean[task].numpy(), shifted @ inverse @ inputs.T @ (y - y.mean()) + y.mean(), atol=1e-10
        )
        spread = 1 + 1 / 8 + np.einsum("md,de,me->m", shifted, inverse, shifted)
        np.testing.assert_allclose(law.variance[task].numpy(), float(fit.noise[task].detach()) * spread, rtol=1e-9)


def test_a_class_without_cases_has_half_a_case_and_leaves_the_others_as_they_are() -> None:
    episodes, learner = vector_episodes("binary"), _learner()
    with torch.no_grad():
        learner.bias.zero_()
    two = _law(learner, episodes)
    known = vector_batch(episodes.support.features["vector"], episodes.support.targets, n_classes=3)
    three = _law(learner, replace(episodes, support=known))
    assert isinstance(two, Categorical)
    assert isinstance(three, Categorical)
    share = 0.5 / (8 + 1.5)
    torch.testing.assert_close(three.probs[..., 2], torch.full((3, 5), share).double())
    torch.testing.assert_close(three.probs[..., :2], (1 - share) * two.probs)


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_batch(torch.ones(1, 3, SIZE), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    with pytest.raises(TaskError, match="one class only"):
        RidgeHead(VectorEncoder()).adapt(support)


def test_a_single_case_says_its_target() -> None:
    one = vector_batch(torch.ones(1, 1, SIZE).double(), torch.full((1, 1), 1.7).double())
    asked = vector_episodes("regression").query.map(lambda value: value[:1])
    law = _law(_learner(), EpisodeBatch(one, asked, torch.arange(1)))
    torch.testing.assert_close(law.mean, torch.full((1, 5), 1.7).double())


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_that_of_finite_differences_in_every_parameter(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    head = {"regression": set(), "binary": {"log_scale", "bias"}, "multiclass": {"log_scale"}}[kind]
    names = {"encoder.map.weight", "encoder.map.bias", "log_penalty"} | head
    check_meta_gradient(learner, episodes, names, least=1e-9)
    for name, _ in learner.named_parameters():
        slope = differences(learner, episodes, name)
        assert float(slope.abs().max()) > 1e-4 if name in names else not slope.any()
    assert set(meta_gradient(learner, episodes)) == names


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_that_has_grown_and_a_penalty_that_has_shrunk_still_teach_in_single_precision(
    kind: TaskKind,
) -> None:
    check_single_precision(lambda: RidgeHead(VectorRaw(), penalty=1e-6), kind)


def _episodes(count: int, seed: int) -> EpisodeBatch:
    """y = x w + b + noise with w ~ N(0, I / SIZE) and b ~ N(0, 25) of each task, so that the best ridge penalty is known."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 28, SIZE, generator=random, dtype=torch.float64)
    weight = torch.randn(count, SIZE, 1, generator=random, dtype=torch.float64) / SIZE**0.5
    y = (x @ weight)[..., 0] + 5 * torch.randn(count, 1, generator=random, dtype=torch.float64)
    y = y + NOISE_VARIANCE**0.5 * torch.randn(count, 28, generator=random, dtype=torch.float64)
    known, asked = (vector_batch(x[:, part], y[:, part].clone()) for part in (slice(8), slice(8, 28)))
    return EpisodeBatch(known, asked, torch.arange(count))


def _exact(episodes: EpisodeBatch) -> Normal:
    """Return the law of the Gaussian process that made the tasks, given their support."""
    x, z = episodes.support.features["vector"], episodes.query.features["vector"]
    noisy = x @ x.mT / SIZE + 25 + NOISE_VARIANCE * torch.eye(8, dtype=torch.float64)
    cross = x @ z.mT / SIZE + 25
    pull = torch.linalg.solve(noisy, cross)
    mean = (pull.mT @ episodes.support.targets[..., None])[..., 0]
    variance = z.square().sum(-1) / SIZE + 25 + NOISE_VARIANCE - (pull * cross).sum(1)
    return Normal(mean, variance.sqrt())


def _figures(law: Law, episodes: EpisodeBatch) -> tuple[float, float]:
    """Return squared error and negative log-likelihood."""
    error = (law.mean - episodes.query.targets).square().mean()
    return float(error), -float(episodes.query.log_likelihood(law).mean())


def _meta_train(learner: RidgeHead, draw: Callable[[int, int], EpisodeBatch]) -> None:
    optimiser = torch.optim.Adam(learner.parameters(), 0.1)
    for step in range(120):
        loss = learner.meta_loss(draw(32, 1000 + step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("start", [0.01, 30.0])
def test_the_learned_penalty_is_noise_over_signal_from_either_side_and_the_law_near_the_exact_one(start: float) -> None:
    learner, new = RidgeHead(VectorRaw(), penalty=start).double(), _episodes(400, 1)
    best, least = _figures(_exact(new), new)
    before = _figures(_law(learner, new), new)
    _meta_train(learner, _episodes)
    error, surprise = _figures(_law(learner, new), new)
    assert float(learner.log_penalty.detach().exp()) == pytest.approx(NOISE_VARIANCE, rel=0.3)
    assert error < 1.02 * best < 0.7 * before[0]
    assert least < surprise < least + 0.06 < before[1] - 0.1


def _askew(count: int, seed: int) -> EpisodeBatch:
    """Vectors say nothing; half of the known cases have class 1, and four fifths of the asked ones."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 28, SIZE, generator=random, dtype=torch.float64)
    known = (torch.arange(8) % 2).repeat(count, 1)
    asked = (torch.rand(count, 20, generator=random) < 0.8).long()
    parts = vector_batch(x[:, :8], known, n_classes=2), vector_batch(x[:, 8:], asked, n_classes=2)
    return EpisodeBatch(*parts, torch.arange(count))


def test_the_bias_learns_that_class_1_is_asked_for_more_often_than_it_is_known() -> None:
    learner, new = RidgeHead(VectorRaw()).double(), _askew(400, 1)
    _meta_train(learner, _askew)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert float(learner.bias.detach()) == pytest.approx(math.log(4), abs=0.1)
    assert -float(new.query.log_likelihood(_law(learner, new)).mean()) == pytest.approx(entropy, abs=0.02)
