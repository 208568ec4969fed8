"""A pooled linear model as the prior of a task's linear model, and how tightly to hold it, tried out on earlier tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.pooled_models import LinearScore, fit_linear, linear_fit, usual_square_of
from metamedica.functional.pooling import Pool, best_score, held_out_models, held_out_scores, noise_of
from metamedica.functional.rehearsal import rehearsals
from metamedica.functional.remembered import remembered
from metamedica.functional.task_posterior import cell_scores, posterior_scores, task_posterior


def with_one(flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n p"]:
    """Return the columns and, last, a column of ones."""
    return torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1)


class LinearPrior(NamedTuple):
    """Normal prior of the weights of the columns and, last, of the intercept: N(mean, factor factor^T)."""

    mean: Float[Tensor, " p"]
    factor: Float[Tensor, "p p"]

    def offset(self, flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n"]:
        """Return each case's score at the prior's mean; 0 before anything was learned."""
        return with_one(flat) @ self.mean if len(self.mean) else flat.new_zeros(flat.shape[:-1])

    def design(self, flat: Float[Tensor, "*batch n flat"]) -> Float[Tensor, "*batch n p"]:
        """Return the design of whitened weights; before anything was learned each has variance 1."""
        return with_one(flat) @ self.factor if len(self.mean) else with_one(flat)

    def narrowed(self, share: float) -> "LinearPrior":
        """Return the prior with its covariance times `share`."""
        return LinearPrior(self.mean, self.factor * share**0.5)


def pulled_to(score: LinearScore) -> LinearPrior:
    """Return the prior with variance 1 of every weight about those of a score."""
    mean = torch.cat([score.weight, score.intercept[None]])
    return LinearPrior(mean, torch.eye(len(mean), dtype=mean.dtype))


@remembered
def pooled_posterior(pool: Pool, rows: Bool[Tensor, " n"], *, signal: float) -> LinearPrior:
    """Return Laplace's posterior of the pooled linear model on these rows (in units of the noise, for regression)."""
    score = fit_linear(pool, rows, signal=signal)
    flat = pool.flat[rows]
    inputs = with_one(flat)
    if pool.kind == "regression":
        bend = torch.ones(len(flat), dtype=flat.dtype)
    else:
        probability = torch.sigmoid(score(flat))
        bend = probability * (1 - probability)
    # The penalty is on weights about the centre; the intercept has next to none.
    held = torch.full((inputs.shape[1],), usual_square_of(flat) / signal, dtype=flat.dtype)
    held[-1] = 1e-3
    precision = torch.diag(held) + inputs.mT @ (inputs * bend[:, None])
    lower = torch.linalg.cholesky(precision)
    factor = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=flat.dtype), upper=False).mT
    return LinearPrior(torch.cat([score.weight, score.intercept[None]]), factor)


class Hold(NamedTuple):
    """How a task's model is held to its prior."""

    share: float = 1.0
    """Factor of the prior's covariance."""
    weight: float = 1.0
    """How many cases a case of the support counts for."""
    spread: float = 1.0
    """Factor of the posterior variance of a score in the law: 1 for its average over the posterior, 0 for the mode's."""


class FittedPrior(NamedTuple):
    """What `fit_linear_prior` finds.

    Args:
        prior: from all tasks.
        score: the pooled model.
        held_out: the prior from all folds but one, for each fold.
        held_out_score: the pooled model of all folds but one, for each fold.
        noise: mean squared held-out residual; 1 for classes.
    """

    prior: LinearPrior
    score: LinearScore
    held_out: list[LinearPrior]
    held_out_score: list[LinearScore]
    noise: Float[Tensor, ""]


def fit_linear_prior(pool: Pool, *, signals: Sequence[float]) -> FittedPrior:
    """Return the pooled posterior at the penalty with the best likelihood on tasks left out, and those that have not seen a fold.

    Args:
        pool: of one kind.
        signals: prior variances of the score of a usual case that are tried.
    """
    models = held_out_models(pool, [linear_fit(signal=signal) for signal in signals])
    scores = held_out_scores(pool, models)
    best = best_score(pool, scores)
    every = torch.ones_like(pool.task, dtype=torch.bool)
    folds = [pooled_posterior(pool, pool.fold != fold, signal=signals[best]) for fold in range(pool.n_folds)]
    prior, score = pooled_posterior(pool, every, signal=signals[best]), fit_linear(pool, every, signal=signals[best])
    return FittedPrior(prior, score, folds, [each[best] for each in models], noise_of(pool, scores)[best])


def best_rehearsed(
    pool: Pool,
    held_out: Sequence[LinearPrior],
    noise: Float[Tensor, ""],
    settings: Sequence[Hold],
) -> int:
    """Return the setting with the best query likelihood where earlier tasks are played as new ones; of equals the first.

    Args:
        pool: of one kind.
        held_out: the prior that has not seen a fold, for each fold.
        noise: of a target about its score.
        settings: those tried.
    """
    total = torch.zeros(len(settings), dtype=torch.float64)
    for play in rehearsals(pool):
        known, asked = pool.flat[play.support], pool.flat[play.query]
        targets, wanted = pool.targets[play.support], pool.targets[play.query]
        for at, hold in enumerate(settings):
            prior = held_out[play.fold].narrowed(hold.share)
            each = torch.full_like(targets, hold.weight)
            found = task_posterior(prior.design(known), prior.offset(known), targets, each, kind=pool.kind, noise=noise)
            mean, variance = posterior_scores(found, prior.design(asked), prior.offset(asked))
            cells = (mean[:, None], hold.spread * variance[:, None], found.noise[:, None])
            total[at] += cell_scores(*cells, wanted, torch.ones_like(wanted), kind=pool.kind).mean()
    return int((total >= total.max() - 1e-9).to(torch.int8).argmax())
