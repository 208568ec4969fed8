"""A pooled score c + s set right for one task: c + a + exp(l) s, with a normal prior of (a, l) that earlier tasks teach.

The level c is the score's mean over the earlier tasks, so that intercept and slope are nearly independent.

The maximum a posteriori is found by damped Fisher scoring, batched over tasks. The prior comes from the earlier tasks by expectation
maximisation with Laplace's posterior of each task (Gelman et al. 2013, Bayesian data analysis, section 13.6).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from metamedica.functional.fitted import Fitted
from metamedica.functional.pooling import Pool, by_task
from metamedica.types import LabelledBatch, TaskKind

_MOST_STEPS = 100
_SHORTER = 0.4
_MOST_SHORTENED = 10
_ROUNDS = 30
_PRIOR_TASKS = 2.0
"""The prior variances are worth so many earlier tasks: three hospitals cannot tell how different hospitals are."""
START_VARIANCE = (0.5, 0.1)


class CalibrationPrior(NamedTuple):
    """Of the intercept a and the log slope l, independent."""

    mean: Float[Tensor, "*tasks 2"]
    variance: Float[Tensor, "*tasks 2"]

    def about_the_score(self) -> "CalibrationPrior":
        """Return the prior with mean 0 and the same mean square: a task without label keeps the score as it is."""
        return CalibrationPrior(torch.zeros_like(self.mean), self.variance + self.mean.square())


def start_prior() -> CalibrationPrior:
    """Return the prior before any task is seen: about the score as it is."""
    return CalibrationPrior(torch.zeros(2, dtype=torch.float64), torch.tensor(START_VARIANCE, dtype=torch.float64))


def calibrated(
    score: Float[Tensor, "tasks n"], level: Float[Tensor, ""], found: Float[Tensor, "tasks 2"]
) -> Float[Tensor, "tasks n"]:
    """Return level + a + exp(l) (score - level)."""
    return level + found[:, :1] + torch.exp(found[:, 1:]) * (score - level)


def fit_calibration(
    score: Float[Tensor, "tasks n"],
    targets: Float[Tensor, "tasks n"],
    weight: Float[Tensor, "tasks n"],
    prior: CalibrationPrior,
    *,
    level: Float[Tensor, ""],
    kind: TaskKind,
    noise: Float[Tensor, ""] | float = 1.0,
    start: Float[Tensor, "tasks 2"] | None = None,
) -> tuple[Float[Tensor, "tasks 2"], Float[Tensor, "tasks 2 2"]]:
    """Return (a, l) of each task at the maximum a posteriori, and the inverse of the expected curvature there.

    Args:
        score: finite where padded.
        targets: 0 / 1 for classes.
        weight: 1 for a case, 0 where padded.
        prior: of (a, l).
        level: c.
        kind: binary or regression.
        noise: variance of a target about its score (regression).
        start: where the search begins; None: at the prior's mean.
    """
    tolerance = torch.finfo(score.dtype).eps ** 0.5
    score = torch.where(weight > 0, score, level)
    held = torch.diag_embed(1 / prior.variance)

    def height(at: Tensor) -> Tensor:
        there = calibrated(score, level, at)
        each = (
            -0.5 * (targets - there).square() / noise if kind == "regression" else logsigmoid((2 * targets - 1) * there)
        )
        return (weight * each).sum(-1) - 0.5 * ((at - prior.mean).square() / prior.variance).sum(-1)

    def curvature(at: Tensor) -> tuple[Tensor, Tensor]:
        there = calibrated(score, level, at)
        design = torch.stack([torch.ones_like(score), torch.exp(at[:, 1:]) * (score - level)], dim=-1)
        if kind == "regression":
            slope, spread = (targets - there) / noise, weight / noise
        else:
            probability = torch.sigmoid(there)
            slope, spread = targets - probability, weight * probability * (1 - probability)
        gain = (design * (weight * slope)[..., None]).sum(1) - (at - prior.mean) / prior.variance
        return gain, held + design.mT @ (design * spread[..., None])

    at = prior.mean.expand(len(score), 2) if start is None else start
    now = height(at)
    moving = torch.ones_like(now, dtype=torch.bool)
    for _ in range(_MOST_STEPS):
        gain, bend = curvature(at)
        step = torch.linalg.solve(bend, gain)
        length = torch.ones_like(now)
        for _ in range(_MOST_SHORTENED):
            worse = ~(height(at + length[:, None] * step) >= now - tolerance * (1 + now.abs()))
            if not bool(worse.any()):
                break
            length = torch.where(worse, _SHORTER * length, length)
        at = torch.where(moving[:, None], at + length[:, None] * step, at)
        now = height(at)
        moving = moving & (
            step.abs().amax(-1) >= tolerance
        )  # a task stops by itself: others in the batch change nothing
        if not bool(moving.any()):
            break
    return at, torch.linalg.inv(curvature(at)[1])


def fit_calibration_prior(
    score: Float[Tensor, "tasks n"],
    targets: Float[Tensor, "tasks n"],
    weight: Float[Tensor, "tasks n"],
    *,
    level: Float[Tensor, ""],
    kind: TaskKind,
    noise: Float[Tensor, ""] | float = 1.0,
) -> CalibrationPrior:
    """Return the prior of (a, l) that earlier tasks teach, given scores by models that have not seen them.

    Args:
        score: as that of `fit_calibration`.
        targets: as that of `fit_calibration`.
        weight: as that of `fit_calibration`.
        level: as that of `fit_calibration`.
        kind: binary or regression.
        noise: as that of `fit_calibration`.
    """
    prior, start = start_prior(), start_prior()
    found: Tensor | None = None
    for _ in range(_ROUNDS):
        found, covariance = fit_calibration(
            score, targets, weight, prior, level=level, kind=kind, noise=noise, start=found
        )
        tasks = len(found)
        mean = found.sum(0) / (tasks + 1)  # pulled to the score as it is, with the weight of one task
        squares = ((found - mean).square() + covariance.diagonal(dim1=-2, dim2=-1)).sum(0)
        prior = CalibrationPrior(mean, (_PRIOR_TASKS * start.variance + squares) / (_PRIOR_TASKS + tasks))
    return prior


def calibration_start() -> dict[str, Tensor]:
    """Return the buffers of what earlier tasks teach of it, before any task is seen."""
    prior = start_prior()
    plain = torch.get_default_dtype()
    return {
        "level": torch.zeros(()),
        "noise": torch.ones(()),
        "prior_mean": prior.mean.to(plain),
        "prior_variance": prior.variance.to(plain),
    }


def calibration_of(pool: Pool, scores: Float[Tensor, " n"], noise: Float[Tensor, ""] | float) -> CalibrationPrior:
    """Return the prior of (a, l) that a pool teaches.

    Args:
        pool: of one kind.
        scores: of each case by a model that has not seen its task; their mean is the level.
        noise: variance of a target about its score (regression).
    """
    score, targets, weight = by_task(pool, scores)
    return fit_calibration_prior(score, targets, weight, level=scores.mean(), kind=pool.kind, noise=noise)


def calibration_buffers(
    prior: CalibrationPrior, scores: Float[Tensor, " n"], noise: Float[Tensor, ""]
) -> dict[str, Tensor]:
    """Return level, noise and prior of (a, l) as the buffers of `calibration_start`.

    Args:
        prior: of (a, l).
        scores: those that `calibration_of` was given.
        noise: variance of a target about its score (regression).
    """
    return {"level": scores.mean(), "noise": noise, "prior_mean": prior.mean, "prior_variance": prior.variance}


def prior_of(taught: Fitted) -> CalibrationPrior:
    """Return the prior that buffers named as in `calibration_start` hold."""
    return CalibrationPrior(taught["prior_mean"], taught["prior_variance"])


def task_calibration(
    score: Float[Tensor, "tasks n"], support: LabelledBatch, taught: Fitted, *, prior: CalibrationPrior | None = None
) -> Float[Tensor, "tasks 2"]:
    """Return (a, l) of each task; the prior's mean where its support holds no case.

    Args:
        score: of the support's cases.
        support: of every task.
        taught: with the buffers of `calibration_start`.
        prior: of (a, l), or one a task; None: that of `taught`.
    """
    targets, weight = support.targets.to(score.dtype), support.mask.to(score.dtype)
    prior = prior or prior_of(taught)
    found, _ = fit_calibration(
        score, targets, weight, prior, level=taught["level"], kind=support.kind, noise=taught["noise"]
    )
    return found
