"""Deep kernel transfer against scikit-learn's Gaussian process, and on tasks drawn from a process whose kernel is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.functional.multitask import side_by_side
from metamedica.learners.deep_kernel_transfer import DeepKernelTransfer
from metamedica.testing import N_TASKS, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner(dim: int = 3) -> DeepKernelTransfer:
    torch.manual_seed(0)
    return DeepKernelTransfer(VectorEncoder(dim=dim), length=0.8, scale=1.3, noise=0.2).double()


def _same_kernel(learner: DeepKernelTransfer) -> Kernel:
    length, scale, noise = (float(each.detach()) for each in (learner.log_length, learner.log_scale, learner.noise))
    rbf = RBF(math.exp(length) * learner.encoder.dim**0.5)
    return ConstantKernel(math.exp(scale)) * rbf + ConstantKernel(MEAN_VARIANCE) + WhiteKernel(noise)


def _embedded(learner: DeepKernelTransfer, features: Features) -> np.ndarray:
    vectors: np.ndarray = learner.encoder(features).detach().numpy()
    return vectors


def test_the_law_of_regression_is_scikit_learns() -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    known, asked = (_embedded(learner, part.features) for part in (episodes.support, episodes.query))
    for task in range(N_TASKS):
        process = GaussianProcessRegressor(_same_kernel(learner), alpha=0, optimizer=None)
        process.fit(known[task], episodes.support.targets[task].numpy())
        mean, deviation = process.predict(asked[task], return_std=True)
        np.testing.assert_allclose(law.mean[task].detach().numpy(), mean, atol=1e-9)
        np.testing.assert_allclose(law.stddev[task].detach().numpy(), deviation, atol=1e-9)


def test_the_odds_of_a_class_are_those_of_the_predictive_density_at_plus_and_minus_one() -> None:
    learner, episodes = _learner(), vector_episodes("binary")
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    known, asked = (_embedded(learner, part.features) for part in (episodes.support, episodes.query))
    for task in range(N_TASKS):
        process = GaussianProcessRegressor(_same_kernel(learner), alpha=0, optimizer=None)
        process.fit(known[task], 2.0 * episodes.support.targets[task].numpy() - 1)
        mean, deviation = (torch.tensor(each) for each in process.predict(asked[task], return_std=True))
        up, down = (Normal(mean, deviation).log_prob(torch.tensor(end)) for end in (1.0, -1.0))
        torch.testing.assert_close(law.logits[task, :, 1] - law.logits[task, :, 0], up - down, atol=1e-8, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_loss_is_scikit_learns_marginal_likelihood_of_support_and_query_together(kind: TaskKind) -> None:
    learner, episodes = _learner(), vector_episodes(kind)
    mask = torch.arange(8) < torch.tensor([[8], [6], [7]])
    support = episodes.support.map(lambda each: each if each.dtype != torch.bool else mask)
    support = support.with_targets(support.targets.masked_fill(~mask, 0))
    episodes = EpisodeBatch(support, episodes.query, episodes.task_index)
    both = side_by_side(episodes)
    losses = []
    for task in range(N_TASKS):
        there = both.mask[task].numpy()
        vectors, targets = _embedded(learner, both.features)[task][there], both.targets[task].numpy()[there]
        if kind != "regression":
            targets = (
                2.0 * (targets[:, None] == np.arange(1, 2) if kind == "binary" else targets[:, None] == range(3)) - 1
            )
        columns = targets.reshape(len(vectors), -1)
        each = [
            GaussianProcessRegressor(_same_kernel(learner), alpha=0, optimizer=None)
            .fit(vectors, column)
            .log_marginal_likelihood_value_
            for column in columns.T
        ]
        losses.append(-sum(each) / columns.size)
    assert float(learner.meta_loss(episodes).detach()) == pytest.approx(np.mean(losses), rel=1e-9)


def test_support_and_query_count_alike_in_the_meta_loss() -> None:
    learner, episodes = _learner(), vector_episodes("multiclass")
    turned = EpisodeBatch(episodes.query, episodes.support, episodes.task_index)
    torch.testing.assert_close(learner.meta_loss(turned), learner.meta_loss(episodes), atol=1e-12, rtol=0)


def test_adapting_changes_no_hyper_parameter_from_task_to_task() -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    known = episodes.support
    moved = known.with_targets(known.targets.flip(0))
    one, other = learner.adapt(known).posterior, learner.adapt(moved).posterior
    torch.testing.assert_close(one.cholesky, other.cholesky, atol=0, rtol=0)
    assert not torch.allclose(one.whitened, other.whitened)


def test_a_support_of_one_class_is_refused() -> None:
    support = vector_episodes("binary").support
    with pytest.raises(TaskError, match="one class only"):
        _learner().adapt(support.with_targets(torch.ones_like(support.targets)))


LENGTH, SCALE, NOISE = 0.5, 1.0, 0.1


def _drawn(count: int, seed: int, *, extra: int = 0) -> EpisodeBatch:
    """Tasks drawn from a Gaussian process on one coordinate, 10 known and 20 asked cases; `extra` coordinates say nothing."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, 30, 1 + extra, generator=random, dtype=torch.float64) - 2
    kernel = SCALE * torch.exp(-0.5 * (x[..., :1] - x[..., :1].mT).square() / LENGTH**2)
    root = torch.linalg.cholesky(kernel + NOISE * torch.eye(30))
    y = (root @ torch.randn(count, 30, 1, generator=random, dtype=torch.float64))[..., 0]
    known, asked = (vector_batch(x[:, part], y[:, part].clone()) for part in (slice(10), slice(10, 30)))
    return EpisodeBatch(known, asked, torch.arange(count))


def _trained(learner: DeepKernelTransfer, tasks: EpisodeBatch, *, steps: int, rate: float) -> DeepKernelTransfer:
    optimiser = torch.optim.Adam(learner.parameters(), rate)
    for _ in range(steps):
        loss = learner.meta_loss(tasks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return learner


def test_meta_training_recovers_the_kernel_and_the_noise_of_the_process_that_drew_the_tasks() -> None:
    learner = DeepKernelTransfer(VectorRaw(1), length=2.0, scale=0.5, noise=0.6).double()
    _trained(learner, _drawn(50, 0), steps=60, rate=0.1)
    found = [float(each.detach()) for each in (learner.log_length.exp(), learner.log_scale.exp(), learner.noise)]
    assert found == pytest.approx([LENGTH, SCALE, NOISE], rel=0.1)


class Scaled(Encoder):
    """Each coordinate times a number that is learned."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dim = size
        self.scale = torch.nn.Parameter(torch.ones(size))

    def forward(self, features: Features) -> Tensor:
        return features["vector"] * self.scale


def _likelihood(learner: DeepKernelTransfer, tasks: EpisodeBatch) -> float:
    with torch.no_grad():
        law = learner.predict(learner.adapt(tasks.support), tasks.query.cases)
        return float(tasks.query.log_likelihood(law).mean())


def test_meta_training_finds_the_coordinate_that_matters_and_nears_the_likelihood_of_the_true_process() -> None:
    new = _drawn(80, 1, extra=3)
    learner = DeepKernelTransfer(Scaled(4), length=0.5).double()
    before = _likelihood(learner, new)
    _trained(learner, _drawn(40, 2, extra=3), steps=60, rate=0.08)
    weight = learner.encoder.scale.detach().abs()
    assert float(weight[0]) > 5 * float(weight[1:].max())
    truth = DeepKernelTransfer(Scaled(4), length=LENGTH / 2, scale=SCALE, noise=NOISE).double()
    truth.encoder.scale.data = torch.tensor([1.0, 0.0, 0.0, 0.0]).double()
    best = _likelihood(truth, new)
    assert before < best - 0.3
    assert _likelihood(learner, new) > best - 0.03
