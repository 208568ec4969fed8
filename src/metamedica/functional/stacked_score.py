"""One score from several pooled models: linear ones of several penalties and boosted trees, weighted on tasks that they have not seen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from metamedica.functional.pooled_models import (
    NO_TREES,
    BoostedScore,
    Growth,
    LinearScore,
    boosted_buffers,
    boosted_fit,
    linear_fit,
)
from metamedica.functional.pooling import Pool, held_out_models, held_out_scores
from metamedica.functional.trees import TreeArrays

LEVEL = 0.5
"""Standard deviation of a task's own intercept while the pooled linear models are fitted."""
_PULL = 5.0
"""Inverse prior variance of a model's weight about an equal share."""
_LEVEL_PULL = 0.25


class StackedScore(NamedTuple):
    """m(x): the weighted sum of the linear models, as one, plus the weighted trees."""

    linear: LinearScore
    boosted: BoostedScore

    def __call__(self, flat: Float[Tensor, "*batch flat"]) -> Float[Tensor, "*batch"]:
        """Return the score of each case; 0 before anything was learned."""
        return self.linear(flat) + self.boosted(flat)


STACK_START: dict[str, Tensor] = {"weight": torch.zeros(0), "intercept": torch.zeros(()), **NO_TREES}
"""The buffers of a `StackedScore` before anything was learned."""


def stack_buffers(score: StackedScore) -> dict[str, Tensor]:
    """Return a stacked score as the buffers of `STACK_START`."""
    return {**score.linear._asdict(), **boosted_buffers(score.boosted)}


def stack_of(buffers: Any) -> StackedScore:
    """Return the stacked score that buffers named as in `STACK_START` hold.

    Args:
        buffers: anything indexed by those names.
    """
    trees = TreeArrays(*(buffers[name] for name in TreeArrays._fields))
    return StackedScore(
        LinearScore(buffers["weight"], buffers["intercept"]), BoostedScore(trees, buffers["baseline"], buffers["depth"])
    )


class Stack(NamedTuple):
    """What `fit_stack` finds.

    Args:
        score: fitted to all tasks.
        held_out: the score of each case of the pool by models that have not seen its task (weighted as `score` is).
        effect: root mean square, over the columns, of the change of the linear models' score by a column's standard deviation.
    """

    score: StackedScore
    held_out: Float[Tensor, " n"]
    effect: float


def fit_stack(pool: Pool, *, signals: Sequence[float], growth: Growth) -> Stack:
    """Return the stacked score of a pool.

    In the linear models each task has an intercept of its own, so that the prevalence of a task is not taken for an effect of the columns
    that its cases share. The weights are those of a logistic (least squares) regression of the held-out targets on the held-out scores, not below 0
    (Breiman 1996, Stacked regressions), again with an intercept for each task.

    Args:
        pool: of one kind.
        signals: of the linear models, as for `fit_linear`.
        growth: of the trees.
    """
    linear = [linear_fit(signal=signal, level=LEVEL) for signal in signals]
    boosted = boosted_fit(growth)
    scores = held_out_scores(pool, held_out_models(pool, [*linear, boosted]))
    weights = stack_weights(pool, scores)
    every = torch.ones_like(pool.task, dtype=torch.bool)
    models = [fit(pool, every) for fit in linear]
    slopes, trees = torch.stack([model.weight for model in models]), boosted(pool, every)
    share = weights[:-1]
    together = LinearScore(share @ slopes, share @ torch.stack([model.intercept for model in models]))
    grown = trees.trees._replace(value=weights[-1] * trees.trees.value)
    score = StackedScore(together, BoostedScore(grown, weights[-1] * trees.baseline, trees.depth))
    # A column that the trees know as well counts in full: the linear share is scaled up to a whole model.
    usual = together.weight / share.sum() if float(share.sum()) > 1e-6 else slopes.mean(0)
    effect = (usual.square() * pool.flat.var(0, correction=0)).mean().sqrt()
    return Stack(score, scores @ weights, float(effect))


def stack_weights(pool: Pool, scores: Float[Tensor, "n models"]) -> Float[Tensor, " models"]:
    """Return the weight of each model's held-out scores, not below 0."""
    design, targets, task = scores.numpy(), pool.targets.numpy(), pool.task.numpy()
    models, tasks = design.shape[1], pool.n_tasks
    equal = np.full(models, 1 / models)

    def objective(at: Any) -> tuple[float, Any]:
        weights, levels = at[:models], at[models:]
        score = design @ weights + levels[task]
        if pool.kind == "regression":
            slope = score - targets
            loss = 0.5 * (slope**2).sum()
        else:
            loss = np.logaddexp(0, -(2 * targets - 1) * score).sum()
            slope = 1 / (1 + np.exp(-score)) - targets
        pulled, held = weights - equal, _LEVEL_PULL * levels
        loss = loss + 0.5 * _PULL * (pulled**2).sum() + 0.5 * (held * levels).sum()
        return float(loss), np.concatenate([design.T @ slope + _PULL * pulled, np.bincount(task, slope, tasks) + held])

    bounds = [(0.0, None)] * models + [(None, None)] * tasks
    start = np.concatenate([equal, np.zeros(tasks)])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return torch.from_numpy(found.x[:models].copy())
