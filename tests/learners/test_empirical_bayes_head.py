"""The head against the exact Bayesian posterior in weight space, and meta-training that must find the prior that made the tasks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, Normal

from metamedica.learners.empirical_bayes_head import EmpiricalBayesHead, WeightPrior
from metamedica.testing import VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind

MEAN = torch.tensor([1.5, -1.0, 0.5, -0.7], dtype=torch.float64)
"""Of the weights of three coordinates and the intercept."""
ROOT = torch.tensor([[0.6, 0.0, 0.0, 0.0], [0.4, 0.3, 0.0, 0.0], [0.0, -0.2, 0.5, 0.0], [0.1, 0.0, 0.2, 0.4]]).double()
NOISE = 0.2


def _linear(count: int, known: int, asked: int, *, seed: int, classes: bool = False) -> EpisodeBatch:
    """Tasks whose weights are drawn from N(MEAN, ROOT ROOT^T): targets with noise, or classes drawn by the logistic law."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, known + asked, 3, generator=random, dtype=torch.float64)
    weight = MEAN + torch.randn(count, 4, generator=random, dtype=torch.float64) @ ROOT.T
    score = (x @ weight[:, :3, None])[..., 0] + weight[:, 3:]
    if classes:
        y = (torch.rand(score.shape, generator=random, dtype=torch.float64) < torch.sigmoid(score)).long()
    else:
        y = score + math.sqrt(NOISE) * torch.randn(score.shape, generator=random, dtype=torch.float64)
    parts = (slice(known), slice(known, known + asked))
    support, query = (vector_batch(x[:, part], y[:, part].clone(), n_classes=2 if classes else None) for part in parts)
    return EpisodeBatch(support, query, torch.arange(count))


def _set(prior: WeightPrior, factor: Tensor) -> None:
    prior.mean.data, prior.factor.data = MEAN.clone(), factor.clone()


def _truth() -> EmpiricalBayesHead:
    """The head whose prior is the one that makes the tasks."""
    learner = EmpiricalBayesHead(VectorRaw(3)).double()
    learner.log_noise.data.fill_(math.log(NOISE - 1e-3))
    _set(learner.regression, ROOT / math.sqrt(NOISE))
    _set(learner.classes, ROOT)
    return learner


def _likelihood(learner: EmpiricalBayesHead, tasks: EpisodeBatch) -> float:
    with torch.no_grad():
        law = learner.predict(learner.adapt(tasks.support), tasks.query.cases)
        return float(tasks.query.log_likelihood(law).mean())


def test_with_the_prior_known_the_law_is_the_papers_posterior_predictive() -> None:
    tasks = _linear(3, 6, 5, seed=0)
    law = _truth().predict(_truth().adapt(tasks.support), tasks.query.cases)
    precision = np.linalg.inv((ROOT @ ROOT.T).numpy() / NOISE)
    for task in range(3):
        phi, asked = (
            np.c_[part.features["vector"][task].numpy(), np.ones(len(part.targets[task]))]
            for part in (tasks.support, tasks.query)
        )
        after = phi.T @ phi + precision
        mean = np.linalg.solve(after, phi.T @ tasks.support.targets[task].numpy() + precision @ MEAN.numpy())
        variance = NOISE * (1 + np.einsum("mi,ij,mj->m", asked, np.linalg.inv(after), asked))
        np.testing.assert_allclose(law.mean[task].detach().numpy(), asked @ mean, atol=1e-10)
        np.testing.assert_allclose(law.variance[task].detach().numpy(), variance, atol=1e-10)


def test_the_law_is_the_conditional_of_the_joint_normal_of_support_and_query_targets() -> None:
    tasks = _linear(1, 5, 1, seed=1)
    law = _truth().predict(_truth().adapt(tasks.support), tasks.query.cases)
    x = torch.cat([tasks.support.features["vector"], tasks.query.features["vector"]], 1)[0]
    phi = torch.cat([x, torch.ones(6, 1)], 1)
    covariance = phi @ ROOT @ ROOT.T @ phi.T + NOISE * torch.eye(6, dtype=torch.float64)
    y = torch.cat([tasks.support.targets, tasks.query.targets], 1)[0]
    joint, known = (MultivariateNormal(phi[:n] @ MEAN, covariance[:n, :n]).log_prob(y[:n]) for n in (6, 5))
    torch.testing.assert_close(law.log_prob(y[5:][None])[0, 0], joint - known, atol=1e-10, rtol=0)


def test_a_support_without_real_cases_leaves_the_prior_predictive() -> None:
    tasks = _linear(1, 2, 4, seed=2)
    nothing = tasks.support.map(lambda each: torch.zeros_like(each) if each.dtype == torch.bool else each)
    law = _truth().predict(_truth().adapt(nothing), tasks.query.cases)
    phi = torch.cat([tasks.query.features["vector"][0], torch.ones(4, 1)], 1)
    torch.testing.assert_close(law.mean[0], phi @ MEAN, atol=1e-10, rtol=0)
    torch.testing.assert_close(law.variance[0], (phi @ ROOT).square().sum(-1) + NOISE, atol=1e-10, rtol=0)


@pytest.mark.parametrize("labels", [[0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1]])
def test_binary_classes_have_the_moderated_output_of_laplace_in_weight_space(labels: list[int]) -> None:
    tasks = _linear(1, 6, 5, seed=3, classes=True)
    support = tasks.support.with_targets(torch.tensor([labels]))
    law = _truth().predict(_truth().adapt(support), tasks.query.cases)
    assert isinstance(law, Categorical)
    phi, asked = (
        np.c_[part.features["vector"][0].numpy(), np.ones(len(part.targets[0]))] for part in (support, tasks.query)
    )
    precision, weight = np.linalg.inv((ROOT @ ROOT.T).numpy()), MEAN.numpy()
    for _ in range(30):
        p = 1 / (1 + np.exp(-phi @ weight))
        curvature = precision + (phi.T * (p * (1 - p))) @ phi
        weight = weight - np.linalg.solve(
            curvature, phi.T @ (p - np.array(labels)) + precision @ (weight - MEAN.numpy())
        )
    variance = np.einsum("mi,ij,mj->m", asked, np.linalg.inv(curvature), asked)
    want = 1 / (1 + np.exp(-(asked @ weight) / np.sqrt(1 + np.pi * variance / 8)))
    np.testing.assert_allclose(law.probs[0, :, 1].detach().numpy(), want, atol=1e-9)


def test_the_laws_of_binary_tasks_are_near_the_exact_posterior_averages() -> None:
    """The exact average over weights, by drawing them from the prior and weighing them by the likelihood of the support."""
    tasks = _linear(6, 5, 10, seed=4, classes=True)
    law = _truth().predict(_truth().adapt(tasks.support), tasks.query.cases)
    assert isinstance(law, Categorical)
    random = torch.Generator().manual_seed(5)
    weight = MEAN + torch.randn(200_000, 4, generator=random, dtype=torch.float64) @ ROOT.T
    for task in range(6):
        scores = tasks.support.features["vector"][task] @ weight[:, :3].T + weight[:, 3]
        sign = 2.0 * tasks.support.targets[task, :, None] - 1
        posterior = torch.softmax(torch.nn.functional.logsigmoid(sign * scores).sum(0), 0)
        asked = torch.sigmoid(tasks.query.features["vector"][task] @ weight[:, :3].T + weight[:, 3])
        torch.testing.assert_close(law.probs[task, :, 1], asked @ posterior, atol=0.03, rtol=0)


def test_the_names_of_several_classes_do_not_matter_and_a_class_without_cases_stays_possible() -> None:
    episodes = vector_episodes("multiclass")
    learner = EmpiricalBayesHead(VectorRaw()).double()
    learner.classes.mean.data.normal_(generator=torch.Generator().manual_seed(0))
    few = episodes.support.map(lambda each: each[:, :2])
    turned = few.with_targets((few.targets + 1) % 3)
    law, other = (learner.predict(learner.adapt(each), episodes.query.cases) for each in (few, turned))
    assert isinstance(law, Categorical)
    assert isinstance(other, Categorical)
    torch.testing.assert_close(other.probs, law.probs.roll(1, -1), atol=1e-10, rtol=0)
    assert float(law.probs[..., 2].min().detach()) > 0.02


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_meta_gradient_is_that_of_finite_differences(kind: TaskKind) -> None:
    torch.manual_seed(0)
    learner, episodes, small = EmpiricalBayesHead(VectorEncoder(dim=2)).double(), vector_episodes(kind), 1e-5
    for prior in (learner.regression, learner.classes):
        prior.mean.data.normal_()
        prior.factor.data.add_(0.3 * torch.randn_like(prior.factor))
    learner.meta_loss(episodes).backward()
    moved_names = set()
    for name, value in learner.named_parameters():
        flat = value.data.view(-1)
        for entry in range(flat.numel()):
            kept, ends = float(flat[entry]), []
            for end in (kept + small, kept - small):
                flat[entry] = end
                ends.append(float(learner.meta_loss(episodes).detach()))
            flat[entry] = kept
            want = (ends[0] - ends[1]) / (2 * small)
            found = 0.0 if value.grad is None else float(value.grad.reshape(-1)[entry])
            assert found == pytest.approx(want, rel=1e-6, abs=1e-8), name
            moved_names |= {name} if abs(want) > 1e-4 else set()
    used = {"regression.mean", "regression.factor", "log_noise"} if kind == "regression" else {"classes.factor"}
    used |= {"classes.mean"} if kind == "binary" else set()
    assert moved_names == {"encoder.map.weight", "encoder.map.bias"} | used


def _trained(learner: EmpiricalBayesHead, tasks: EpisodeBatch) -> EmpiricalBayesHead:
    optimiser = torch.optim.LBFGS(learner.parameters(), max_iter=20, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        value = learner.meta_loss(tasks)
        value.backward()
        return float(value.detach())

    optimiser.step(loss)
    return learner


def test_meta_training_from_a_wrong_prior_recovers_the_prior_and_the_noise_that_made_the_tasks() -> None:
    learner = EmpiricalBayesHead(VectorRaw(3)).double()
    new = _linear(200, 4, 20, seed=6)
    best, before = _likelihood(_truth(), new), _likelihood(learner, new)
    _trained(learner, _linear(300, 2, 12, seed=7))
    prior, noise = learner.regression, float(learner.noise.detach())
    torch.testing.assert_close(prior.mean.detach(), MEAN, atol=0.1, rtol=0)
    assert noise == pytest.approx(NOISE, rel=0.1)
    found = noise * prior.factor.detach() @ prior.factor.detach().T
    torch.testing.assert_close(found, ROOT @ ROOT.T, atol=0.1, rtol=0)
    assert before < best - 0.5
    assert _likelihood(learner, new) > best - 0.01


def test_meta_training_on_classes_recovers_the_prior_mean_that_made_the_tasks() -> None:
    learner = EmpiricalBayesHead(VectorRaw(3)).double()
    new = _linear(200, 6, 20, seed=8, classes=True)
    best, before = _likelihood(_truth(), new), _likelihood(learner, new)
    _trained(learner, _linear(200, 6, 20, seed=10, classes=True))
    torch.testing.assert_close(learner.classes.mean.detach(), MEAN, atol=0.2, rtol=0)
    assert before < best - 0.1
    assert _likelihood(learner, new) > best - 0.01


def test_a_regression_law_is_normal_and_its_noise_never_vanishes() -> None:
    learner, episodes = EmpiricalBayesHead(VectorRaw()).double(), vector_episodes("regression")
    learner.log_noise.data.fill_(-50.0)
    law = learner.predict(learner.adapt(episodes.support), episodes.support.cases)
    assert isinstance(law, Normal)
    assert float(law.variance.min().detach()) >= 1e-3
