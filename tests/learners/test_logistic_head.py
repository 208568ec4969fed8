"""The head against scikit-learn and the paper's own steps, its gradient against two others, and tasks whose exact law is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.distributions import Categorical

from gradient_world import check_meta_gradient, check_single_precision, meta_gradient
from metamedica.errors import TaskError
from metamedica.functional.logistic import BIAS_VARIANCE
from metamedica.learners.logistic_head import LogisticHead
from metamedica.testing import N_TASKS, SIZE, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, LabelledBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass")
PENALTY, STRENGTH, FEW = 0.3, 2.0, 2


def _learner(dim: int = 3) -> LogisticHead:
    torch.manual_seed(0)
    learner = LogisticHead(VectorEncoder(dim=dim)).double()
    with torch.no_grad():
        learner.log_penalty.fill_(math.log(PENALTY))
    return learner


def _probabilities(learner: LogisticHead, episodes: EpisodeBatch) -> Tensor:
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    return law.probs


def _scaled(learner: LogisticHead, episodes: EpisodeBatch, task: int) -> tuple[np.ndarray, np.ndarray]:
    """Known and asked embeddings in which weights and bias of a class have prior variance 1."""

    def embedded(batch: LabelledBatch) -> np.ndarray:
        return learner.encoder(batch.features)[task].detach().numpy() / learner.encoder.dim**0.5

    known, asked = embedded(episodes.support), embedded(episodes.query)
    centre = known.mean(0)
    known, asked = (
        np.hstack([(x - centre) / PENALTY**0.5, np.full((len(x), 1), BIAS_VARIANCE**0.5)]) for x in (known, asked)
    )
    return known, asked


@pytest.mark.parametrize("dim", [3, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_scikit_learns_with_more_and_fewer_cases_than_columns(kind: TaskKind, dim: int) -> None:
    learner, episodes = _learner(dim), vector_episodes(kind)
    found = _probabilities(learner, episodes)
    for task in range(N_TASKS):
        known, asked = _scaled(learner, episodes, task)
        share = 2.0 if kind == "binary" else 1.0  # one weight vector of twice the size stands for two opposite ones
        model = LogisticRegression(C=share, fit_intercept=False, tol=1e-12, solver="newton-cholesky", max_iter=1000)
        model.fit(known, episodes.support.targets[task].numpy())
        np.testing.assert_allclose(found[task].numpy(), model.predict_proba(asked), atol=1e-7)


def test_a_binary_head_is_where_the_papers_reweighted_least_squares_ends() -> None:
    """w = X^T (X X^T + lambda S^-1)^-1 z, S = mu (1 - mu), z = X w + (y - mu) / S; lambda = 1/2 as two classes share the penalty."""
    learner, episodes = _learner(), vector_episodes("binary")
    found = _probabilities(learner, episodes)
    for task in range(N_TASKS):
        x, asked = _scaled(learner, episodes, task)
        y, w = episodes.support.targets[task].numpy(), np.zeros(4)
        for _ in range(12):
            mu = 1 / (1 + np.exp(-x @ w))
            s = mu * (1 - mu)
            w = x.T @ np.linalg.solve(x @ x.T + 0.5 * np.diag(1 / s), x @ w + (y - mu) / s)
        np.testing.assert_allclose(found[task, :, 1].numpy(), 1 / (1 + np.exp(-asked @ w)), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_that_of_finite_differences_in_every_parameter(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    names = {name for name, _ in learner.named_parameters()}
    check_meta_gradient(learner, episodes, names, rel=1e-6, least=1e-9)
    assert all(bool((slope.abs() > 1e-5).all()) for slope in meta_gradient(learner, episodes).values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_gradient_is_that_through_every_step_of_newtons_method_in_the_primal_form(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    parameters = list(learner.parameters())
    classes = episodes.support.n_classes or 0
    losses = []
    for task in range(N_TASKS):
        known, asked = (learner.encoder(b.features)[task] / 3**0.5 for b in (episodes.support, episodes.query))
        centre, penalty = known.mean(0), learner.log_penalty.exp()
        x, z = (torch.cat([rows - centre, torch.ones(len(rows), 1).double()], 1) for rows in (known, asked))
        prior = torch.cat([penalty.expand(3), torch.ones(1).double() / BIAS_VARIANCE])
        goals = torch.nn.functional.one_hot(episodes.support.targets[task], classes).double()
        weight = torch.zeros(4, classes, dtype=torch.float64)
        for _ in range(10):
            p = torch.softmax(x @ weight, -1)
            slope = x.T @ (p - goals) + prior[:, None] * weight
            share = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
            curve = torch.einsum("ni,nj,nkl->ikjl", x, x, share).reshape(4 * classes, -1)
            curve = curve + torch.diag(prior.repeat_interleave(classes))
            weight = weight - torch.linalg.solve(curve, slope.flatten()).view(4, classes)
        losses.append(torch.nn.functional.cross_entropy(z @ weight, episodes.query.targets[task]))
    want = torch.stack(losses).mean()
    loss = learner.meta_loss(episodes)
    torch.testing.assert_close(loss, want, atol=1e-12, rtol=1e-12)
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(want, parameters), strict=True)
    for found, through in pairs:
        torch.testing.assert_close(found, through, atol=1e-11, rtol=1e-9)


def test_a_support_of_one_class_gives_it_a_probability_between_a_half_and_one() -> None:
    support = vector_batch(torch.ones(1, 3, SIZE).double(), torch.ones(1, 3, dtype=torch.int64), n_classes=2)
    asked = vector_episodes("binary").query.map(lambda value: value[:1])
    found = _probabilities(_learner(), EpisodeBatch(support, asked, torch.arange(1)))[..., 1]
    assert bool(((found > 0.6) & (found < 0.99)).all())


def test_a_class_without_cases_is_the_least_likely_and_possible() -> None:
    episodes = vector_episodes("binary")
    known = vector_batch(episodes.support.features["vector"], episodes.support.targets, n_classes=3)
    found = _probabilities(_learner(), EpisodeBatch(known, episodes.query, episodes.task_index))
    assert bool((found[..., 2] > 0).all())
    assert bool((found[..., 2] < found[..., :2].amax(-1)).all())
    assert float(found[..., 2].mean()) < 0.15


def test_a_regression_task_is_refused_with_what_it_allows() -> None:
    with pytest.raises(TaskError, match="cannot learn a regression task; it allows binary, multiclass"):
        _learner().adapt(vector_episodes("regression").support)


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_that_has_grown_and_a_penalty_that_has_shrunk_still_teach_in_single_precision(
    kind: TaskKind,
) -> None:
    check_single_precision(lambda: LogisticHead(VectorRaw(), penalty=1e-6), kind)


def _episodes(count: int, seed: int) -> EpisodeBatch:
    """Log-odds x w of class 1, with w ~ N(0, STRENGTH^2 I) of each task."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 36, FEW, generator=random, dtype=torch.float64)
    weight = STRENGTH * torch.randn(count, FEW, 1, generator=random, dtype=torch.float64)
    y = (torch.rand(count, 36, generator=random) < torch.sigmoid(x @ weight)[..., 0]).long()
    known, asked = (vector_batch(x[:, part], y[:, part].clone(), n_classes=2) for part in (slice(16), slice(16, 36)))
    return EpisodeBatch(known, asked, torch.arange(count))


def _exact(episodes: EpisodeBatch) -> Tensor:
    """Return the probability of class 1 under the posterior of w, on a grid of w."""
    axis = torch.linspace(-4, 4, 31, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)

    def log_odds(batch: LabelledBatch) -> Tensor:
        return batch.features["vector"] @ (STRENGTH * grid.T)

    signed = (2 * episodes.support.targets - 1)[..., None] * log_odds(episodes.support)
    log_weight = torch.nn.functional.logsigmoid(signed).sum(1) - 0.5 * grid.square().sum(1)
    return (torch.sigmoid(log_odds(episodes.query)) @ torch.softmax(log_weight, -1)[..., None])[..., 0]


def _surprise(probability: Tensor, episodes: EpisodeBatch) -> float:
    """Return the negative log-likelihood, given the probability of class 1."""
    return -float(torch.where(episodes.query.targets == 1, probability, 1 - probability).log().mean())


def _surprise_at(penalty: float, episodes: EpisodeBatch) -> float:
    learner = LogisticHead(VectorRaw(FEW), penalty=penalty).double()
    return _surprise(_probabilities(learner, episodes)[..., 1], episodes)


@pytest.mark.parametrize("start", [0.01, 30.0])
def test_meta_training_finds_the_best_penalty_from_either_side_and_comes_near_the_exact_law(start: float) -> None:
    learner, old, new = LogisticHead(VectorRaw(FEW), penalty=start).double(), _episodes(120, 0), _episodes(150, 1)
    optimiser = torch.optim.Rprop(learner.parameters(), 0.5)
    for _ in range(16):
        loss = learner.meta_loss(old)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = float(learner.log_penalty.detach().exp())
    others = [_surprise_at(penalty, old) for penalty in (0.1, 0.2, 0.3, 0.5, 0.8, 1.2)]
    assert _surprise_at(found, old) < min(others) + 0.001
    least = _surprise(_exact(new), new)
    assert least < _surprise_at(found, new) < least + 0.06 < _surprise_at(start, new) - 0.04
