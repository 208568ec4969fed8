"""The Gaussian posterior of one task's few parameters, exact for regression and Laplace's for two classes, batched over tasks and priors.

A task's scores are f = offset + A z with z ~ N(0, I): the prior's mean is in the offset and its covariance in the design A, so that
one function serves every prior, and a parameter whose prior variance is 0 stays where it is. Binary: y ~ Bernoulli(sigmoid(f)),
expanded at the mode (MacKay 1992; Bishop 2006, section 4.4). Regression: y ~ N(f, s), z ~ N(0, s I), with s ~ inverse gamma of mean
`noise` worth `NOISE_CASES` cases, so that evidence and posterior are exact (Bishop 2006, section 3.3 and exercise 3.12).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.nn.functional import logsigmoid

from metamedica.functional.gaussian_process import average_law
from metamedica.types import Law, TaskKind

NOISE_CASES = 4.0
_MOST_STEPS = 40
_SHORTER = 0.4
_MOST_SHORTENED = 8
_WIDE = 64
"""Columns of a design beyond which its products are taken in blocks."""


class TaskPosterior(NamedTuple):
    """Of whitened parameters z."""

    mode: Float[Tensor, "*batch p"]
    factor: Float[Tensor, "*batch p p"]
    """Lower Cholesky factor of I + A^T W A, the posterior precision (times the noise, for regression)."""
    log_evidence: Float[Tensor, "*batch"]
    """Log marginal likelihood of the targets, up to a constant per task."""
    noise: Float[Tensor, "*batch"]
    """Expected variance of a target about its score; 1 for classes."""


def task_posterior(
    design: Float[Tensor, "*batch n p"],
    offset: Float[Tensor, "*batch n"],
    targets: Float[Tensor, "*batch n"],
    weight: Float[Tensor, "*batch n"],
    *,
    kind: TaskKind,
    noise: Float[Tensor, ""] | float = 1.0,
    start: Float[Tensor, "*batch p"] | None = None,
) -> TaskPosterior:
    """Return the posterior of each task's parameters. A support of one class, or of no case, has an answer too.

    Args:
        design: A; anything finite where padded.
        offset: score at the prior's mean.
        targets: 0 / 1 for classes.
        weight: how many cases each case counts for; 0 where padded.
        kind: binary or regression.
        noise: expected variance of a target about its score before any is seen (regression).
        start: where the search for the mode begins; None: at 0. It changes the time only.
    """
    if kind == "regression":
        return _exact(design, offset, targets, weight, noise)
    return _laplace(design, offset, targets, weight, start)


def _precision(design: Tensor, weight: Tensor) -> Tensor:
    """Return the Cholesky factor of I + A^T W A; of a wide product, which is symmetric, the blocks above the diagonal are left out."""
    eye = torch.eye(design.shape[-1], dtype=design.dtype, device=design.device)
    weighted = design * weight[..., None]
    if design.shape[-1] <= _WIDE:
        product = design.mT @ weighted
    else:
        product = torch.zeros(*weighted.shape[:-2], *eye.shape, dtype=design.dtype, device=design.device)
        for first in range(0, design.shape[-1], _WIDE):
            last = first + _WIDE
            product[..., first:last, :last] = design[..., first:last].mT @ weighted[..., :last]
    factor: Tensor = torch.linalg.cholesky(eye + product)
    return factor


def _half_log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _exact(design: Tensor, offset: Tensor, targets: Tensor, weight: Tensor, noise: Tensor | float) -> TaskPosterior:
    misses = targets - offset
    factor = _precision(design, weight)
    pulled = design.mT @ (weight * misses)[..., None]
    mode = torch.cholesky_solve(pulled, factor)
    squares = (weight * misses.square()).sum(-1) - (pulled * mode).sum((-2, -1))
    prior = (NOISE_CASES - 2) * noise  # the scale at which the inverse gamma has this mean
    total, count = prior + squares.clamp(min=0), weight.sum(-1)
    level = 0.5 * NOISE_CASES * torch.log(torch.as_tensor(prior))  # so that models of different noise can be compared
    evidence = level - _half_log_det(factor) - 0.5 * (NOISE_CASES + count) * torch.log(total)
    return TaskPosterior(mode[..., 0], factor, evidence, total / (NOISE_CASES - 2 + count))


def _laplace(
    design: Tensor, offset: Tensor, targets: Tensor, weight: Tensor, start: Tensor | None = None
) -> TaskPosterior:
    tolerance = torch.finfo(design.dtype).eps ** 0.5
    sign = 2 * targets - 1

    def scores(mode: Tensor) -> Tensor:
        found: Tensor = offset + (design @ mode[..., None])[..., 0]
        return found

    def height(mode: Tensor) -> Tensor:
        return (weight * logsigmoid(sign * scores(mode))).sum(-1) - 0.5 * mode.square().sum(-1)

    if start is None:
        mode = (design[..., 0, :] if design.shape[-2] else design.new_zeros(*design.shape[:-2], design.shape[-1])) * 0
    else:
        mode = start
    now = height(mode)
    for _ in range(_MOST_STEPS):
        probability = torch.sigmoid(scores(mode))
        factor = _precision(design, weight * probability * (1 - probability))
        slope = (design.mT @ (weight * (targets - probability))[..., None])[..., 0] - mode
        step = torch.cholesky_solve(slope[..., None], factor)[..., 0]
        length = torch.ones_like(now)
        for _ in range(_MOST_SHORTENED):
            there = height(mode + length[..., None] * step)
            worse = there < now - tolerance * (1 + now.abs())
            if not bool(worse.any()):
                break
            length = torch.where(worse, _SHORTER * length, length)
        mode = mode + length[..., None] * step
        now = height(mode)
        if bool((step.abs().amax(-1) < tolerance * (1 + mode.abs().amax(-1))).all()):
            break
    probability = torch.sigmoid(scores(mode))
    factor = _precision(design, weight * probability * (1 - probability))
    return TaskPosterior(mode, factor, now - _half_log_det(factor), torch.ones_like(now))


def posterior_scores(
    found: TaskPosterior, design: Float[Tensor, "*batch m p"], offset: Float[Tensor, "*batch m"]
) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m"]]:
    """Return mean of each query score and its variance (in units of the noise, for regression)."""
    mean = offset + (design @ found.mode[..., None])[..., 0]
    eye = torch.eye(design.shape[-1], dtype=design.dtype, device=design.device).expand_as(found.factor)
    half = design @ torch.linalg.solve_triangular(found.factor, eye, upper=False).mT
    return mean, half.square().sum(-1)


def row_variances(
    rows: Float[Tensor, "tasks m q"], widths: Float[Tensor, "cells q"], factor: Float[Tensor, "tasks cells q q"]
) -> Float[Tensor, "tasks cells m"]:
    """Return the variance of each query score, as `posterior_scores` has it, where the design in each cell is `rows * widths`: without laying it out.

    Args:
        rows: of the query, common to the cells.
        widths: of each parameter.
        factor: of the posterior in each cell.
    """
    tasks, cells, q, _ = factor.shape
    eye = torch.eye(q, dtype=rows.dtype, device=rows.device).expand_as(factor)
    inverse = torch.linalg.solve_triangular(factor, eye, upper=False) * widths[:, None, :]
    half = rows @ inverse.reshape(tasks, cells * q, q).mT
    variance: Tensor = half.square().reshape(tasks, rows.shape[1], cells, q).sum(-1).mT
    return variance


def binary_law(log_odds: Float[Tensor, "tasks m"]) -> Categorical:
    """Return the law of two classes with these log-odds of class 1."""
    return Categorical(logits=torch.stack([torch.zeros_like(log_odds), log_odds], dim=-1), validate_args=False)


def moderated_log_odds(mean: Float[Tensor, "*batch"], variance: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return the log-odds of a probability averaged over a Gaussian score, approximately: m / sqrt(1 + pi v / 8) (MacKay 1992, eq. 10)."""
    return mean / (1 + math.pi / 8 * variance).sqrt()


def score_law(score: Float[Tensor, "tasks m"], noise: Float[Tensor, "*tasks"], kind: TaskKind) -> Law:
    """Return the law of a score that is taken as known.

    Args:
        score: log-odds of class 1, or a mean.
        noise: variance of a target about it (regression), one or one a task.
        kind: binary or regression.
    """
    if kind != "regression":
        return binary_law(score)
    return Normal(score, noise.reshape(-1, 1).expand_as(score).sqrt(), validate_args=False)


def averaged_evidence(log_weight: Float[Tensor, " cells"], found: TaskPosterior) -> Float[Tensor, " tasks"]:
    """Return the log marginal likelihood of each support averaged over cells, up to what all models of the same targets share.

    Args:
        log_weight: of each cell before any label, normalised or not.
        found: of every task and cell.
    """
    return torch.logsumexp(log_weight.log_softmax(-1) + found.log_evidence, dim=-1)


def averaged_law(
    mean: Float[Tensor, "tasks cells m"],
    variance: Float[Tensor, "tasks cells m"],
    noise: Float[Tensor, "tasks cells"],
    log_weight: Float[Tensor, "tasks cells"],
    *,
    kind: TaskKind,
) -> Law:
    """Return the law averaged over cells: probabilities of classes are averaged; Normals are matched in mean and variance.

    Args:
        mean: of each score in each cell.
        variance: of each score, in units of the noise for regression.
        noise: of each cell.
        log_weight: of each cell; a row sums to 1 once exponentiated.
        kind: binary or regression.
    """
    if kind == "regression":
        return average_law(mean[..., None], noise[..., None] * (1 + variance), log_weight, kind)
    log_odds, weight = moderated_log_odds(mean, variance), log_weight.exp()[:, None]
    each = [torch.bmm(weight, torch.sigmoid(side))[:, 0] for side in (-log_odds, log_odds)]
    least = torch.finfo(mean.dtype).tiny
    return Categorical(logits=torch.stack(each, dim=-1).clamp(min=least).log(), validate_args=False)


def cell_scores(
    mean: Float[Tensor, "tasks cells m"],
    variance: Float[Tensor, "tasks cells m"],
    noise: Float[Tensor, "tasks cells"],
    targets: Float[Tensor, "tasks m"],
    weight: Float[Tensor, "tasks m"],
    *,
    kind: TaskKind,
) -> Float[Tensor, "tasks cells"]:
    """Return the mean log-likelihood of each task's query targets in every cell.

    Args:
        mean: as that of `averaged_law`.
        variance: as that of `averaged_law`.
        noise: as that of `averaged_law`.
        targets: 0 / 1 for classes.
        weight: 1 for a case, 0 where padded.
        kind: binary or regression.
    """
    if kind == "regression":
        law: Law = Normal(mean, (noise[..., None] * (1 + variance)).sqrt(), validate_args=False)
        each = law.log_prob(targets[:, None].expand_as(mean))
    else:
        each = logsigmoid((2 * targets - 1)[:, None] * moderated_log_odds(mean, variance))
    total: Tensor = (weight[:, None] * each).sum(-1) / weight.sum(-1).clamp(min=1)[:, None]
    return total
