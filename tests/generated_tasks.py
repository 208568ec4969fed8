"""Families of generated tasks whose best answer is known exactly, a short meta-training on them, ragged batches, and what is checked on them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, Kernel, WhiteKernel
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.nn.functional import softplus

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


class Family(NamedTuple):
    """Tasks, drawn by number and seed, with their exact law and the best of those that do not look at the case asked about."""

    draw: Callable[[int, int], EpisodeBatch]
    best: Callable[[EpisodeBatch], Law]
    blind: Callable[[EpisodeBatch], Law]


LINES = Family(lines, partial(best_of_functions, OF_LINES), support_mean)
CURVES = Family(curves, partial(best_of_functions, OF_CURVES), support_mean)
CLUSTERS = Family(clusters, best_of_clusters, support_shares)


def check_near_the_best(
    make: Callable[[], Learner[Any]],
    family: Family,
    *,
    steps: int,
    rate: float,
    count: int = 32,
    below: float,
    above: float,
) -> None:
    """Meta-train a new learner: on new tasks it is at most `below` nats a case under the exact law, and `above` over the blind one."""
    new = family.draw(200, 1)
    torch.manual_seed(0)
    learner = make()
    meta_train(learner, family.draw, steps=steps, rate=rate, count=count)
    best, found = score(family.best(new), new), learned(learner, new)
    assert best - below < found < best
    assert found > score(family.blind(new), new) + above


def views(kind: TaskKind, targets: Tensor) -> list[Tensor]:
    """One task's labels `[cases, columns]` in each view: targets; [not class 1, class 1] of binary; [not class k, class k] of each of three."""
    if kind == "regression":
        return [targets[:, None]]
    each = [torch.stack([targets != k, targets == k], dim=-1).double() for k in range(3)]
    return each if kind == "multiclass" else each[1:2]


def check_laws(
    learner: Learner[Any], kind: TaskKind, outputs: Callable[[Tensor, Tensor, Tensor], Tensor], *, close: float = 1e-10
) -> None:
    """Compare the laws of ragged tasks with what a plain implementation puts out, task by task and without padding.

    Args:
        learner: in double precision.
        kind: of the tasks.
        outputs: from known vectors, their targets and asked vectors to a score per class, or mean and scale before its softplus.
        close: absolute.
    """
    episodes = ragged(kind)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    for task in range(len(SIZES)):
        real = episodes.support.mask[task]
        x, targets = episodes.support.features["vector"][task, real], episodes.support.targets[task, real]
        want = outputs(x, targets, episodes.query.features["vector"][task])
        if kind == "regression":
            assert isinstance(law, Normal)
            torch.testing.assert_close(law.mean[task], want[:, 0], atol=close, rtol=0)
            torch.testing.assert_close(law.stddev[task], 0.05 + softplus(want[:, 1]), atol=close, rtol=0)
        else:
            assert isinstance(law, Categorical)
            torch.testing.assert_close(law.probs[task], torch.softmax(want, -1), atol=close, rtol=0)


def check_laws_of_views(
    learner: Learner[Any], kind: TaskKind, outputs: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> None:
    """Compare as `check_laws` does, where `outputs` takes the labels of one view, and the views' scores stand side by side."""

    def side_by_side(x: Tensor, targets: Tensor, asked: Tensor) -> Tensor:
        return torch.cat([outputs(x, view, asked) for view in views(kind, targets)], dim=-1)

    check_laws(learner, kind, side_by_side)


def check_other_names_of_classes(learner: Learner[Any]) -> None:
    """Give the classes of multiclass tasks other names: the law must be the same under those names, and depend on the case's class."""
    episodes = vector_episodes("multiclass")
    names = torch.tensor([2, 0, 1])
    renamed = episodes.support.with_targets(names[episodes.support.targets])
    before, after = (
        learner.predict(learner.adapt(support), episodes.query.cases) for support in (episodes.support, renamed)
    )
    assert isinstance(before, Categorical)
    torch.testing.assert_close(after.probs[..., names], before.probs, atol=1e-12, rtol=0)
    assert not torch.allclose(after.probs, before.probs, atol=1e-3)
