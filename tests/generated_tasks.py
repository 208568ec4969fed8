"""Families of generated tasks whose best answer is known exactly, a short meta-training on them, and ragged batches."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, Kernel, WhiteKernel
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.testing import vector_batch, vector_episodes
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Law, Learner, TaskKind

Made = TypeVar("Made", bound=Learner[Any])
N_QUERY = 20
NOISE = 0.4
"""Standard deviation of a target around its line or curve."""
OF_LINES = DotProduct(1.0, "fixed") + WhiteKernel(NOISE**2, "fixed")
OF_CURVES = RBF(1.0, "fixed") + WhiteKernel(NOISE**2, "fixed")
"""Kernels of the two families of functions, with their noise."""
SPREAD = 2.0
"""Standard deviation of a cluster's centre."""
SIZES = (8, 3, 5)


def _episodes(
    x: Tensor, targets: Tensor, random: torch.Generator, *, least: int, n_classes: int | None = None
) -> EpisodeBatch:
    """The last `N_QUERY` cases of each task are asked; of the others at least `least` are known, the rest is padding."""
    both = vector_batch(x, targets, n_classes=n_classes)
    support, query = both.map(lambda value: value[:, :-N_QUERY]), both.map(lambda value: value[:, -N_QUERY:])
    count, n = support.mask.shape
    known = _first(support, torch.randint(least, n + 1, (count, 1), generator=random))
    return EpisodeBatch(known, query, torch.arange(count))


def _first(batch: LabelledBatch, sizes: Tensor) -> LabelledBatch:
    """Each task's first cases, the others hidden by the mask."""
    mask = torch.arange(batch.mask.shape[1]) < sizes
    cases = CaseBatch(batch.features, mask)
    return LabelledBatch(cases, batch.targets.masked_fill(~mask, 0), batch.kind, batch.n_classes)


def ragged(kind: TaskKind) -> EpisodeBatch:
    """Three tasks in double precision with supports of `SIZES`, padded."""
    episodes = vector_episodes(kind)
    return EpisodeBatch(_first(episodes.support, torch.tensor(SIZES)[:, None]), episodes.query, episodes.task_index)


def stirred(learner: Made) -> Made:
    """The learner in double precision with every weight moved: some are 0 at the start, and others too small to matter."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    return learner.double()


def lines(count: int, seed: int) -> EpisodeBatch:
    """Straight lines with intercept and slope from N(0, 1), seen with noise at 3 to 10 places in [-2, 2]."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, 10 + N_QUERY, 1, generator=random) - 2
    intercept, slope = torch.randn(2, count, 1, generator=random)
    y = intercept + slope * x[..., 0] + NOISE * torch.randn(x.shape[:2], generator=random)
    return _episodes(x, y, random, least=3)


def curves(count: int, seed: int) -> EpisodeBatch:
    """Draws from a Gaussian process with a squared exponential kernel, seen with noise at 3 to 10 places in [-2, 2]."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, 10 + N_QUERY, 1, generator=random) - 2
    covariance = torch.exp(-0.5 * (x - x.mT).square()) + NOISE**2 * torch.eye(x.shape[1])
    y = torch.linalg.cholesky(covariance) @ torch.randn(x.shape, generator=random)
    return _episodes(x, y[..., 0], random, least=3)


def clusters(count: int, seed: int, *, n_classes: int = 3) -> EpisodeBatch:
    """Classes about centres from N(0, SPREAD^2) in the plane, within them N(0, 1); 4 to 9 known cases, one at least of each class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_classes, (count, 9 + N_QUERY), generator=random)
    labels[:, :n_classes] = torch.arange(n_classes)  # every class is shown
    centres = SPREAD * torch.randn(count, n_classes, 2, generator=random)
    x = centres.take_along_dim(labels[..., None], 1) + torch.randn(count, 9 + N_QUERY, 2, generator=random)
    return _episodes(x, labels, random, least=4, n_classes=n_classes)


def best_of_functions(kernel: Kernel, tasks: EpisodeBatch) -> Normal:
    """The exact predictive law of scikit-learn's Gaussian process with the kernel that the tasks were drawn with."""
    laws = []
    for task in range(len(tasks.support.mask)):
        real = tasks.support.mask[task]
        x, y = tasks.support.features["vector"][task, real].double(), tasks.support.targets[task, real].double()
        process = GaussianProcessRegressor(kernel, optimizer=None).fit(x.numpy(), y.numpy())
        laws.append(process.predict(tasks.query.features["vector"][task].double().numpy(), return_std=True))
    mean, scale = torch.tensor(np.array(laws)).unbind(1)
    return Normal(mean, scale)


def best_of_clusters(tasks: EpisodeBatch) -> Categorical:
    """Bayes' rule: the predictive density of each class given its known cases, and equally likely classes."""
    support, at = tasks.support, tasks.query.features["vector"].double()
    scores = []
    for label in range(support.n_classes or 0):
        own = ((support.targets == label) & support.mask).double()[..., None]
        variance = 1 / (1 / SPREAD**2 + own.sum(1))
        mean = variance * (own * support.features["vector"]).sum(1)
        scores.append(Normal(mean[:, None], (1 + variance[:, None]).sqrt()).log_prob(at).sum(-1))
    return Categorical(logits=torch.stack(scores, -1))


def support_mean(tasks: EpisodeBatch) -> Normal:
    """What a method that only averages can say: the mean of the known targets, with the one scale that fits these queries best."""
    support, targets = tasks.support, tasks.query.targets
    mean = (support.targets.sum(1) / support.counts())[:, None].expand(targets.shape)
    return Normal(mean, (targets - mean).square().mean().sqrt())


def support_shares(tasks: EpisodeBatch) -> Categorical:
    """The smoothed shares of the classes in the support, whatever the case."""
    counts = torch.nn.functional.one_hot(tasks.support.targets, tasks.support.n_classes or -1)
    shares = (counts * tasks.support.mask[..., None]).sum(1) + 1.0
    return Categorical(probs=shares[:, None].expand(-1, N_QUERY, -1))


def score(law: Law, tasks: EpisodeBatch) -> float:
    """Mean query log-likelihood."""
    return float(tasks.query.log_likelihood(law).mean())


def learned(learner: Learner[Any], tasks: EpisodeBatch) -> float:
    """Mean query log-likelihood of a learner."""
    with torch.no_grad():
        return score(learner.predict(learner.adapt(tasks.support), tasks.query.cases), tasks)


def meta_train(
    learner: Learner[Any], draw: Callable[[int, int], EpisodeBatch], *, steps: int, rate: float = 0.005, count: int = 32
) -> None:
    """Adam on fresh tasks, the rate falling to 0."""
    optimiser = torch.optim.Adam(learner.parameters(), rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        loss = learner.meta_loss(draw(count, 1000 + step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        schedule.step()
