"""What a task's cases without label say of its prevalence, as a normal law of the shift of a pooled score's log-odds.

A pooled score s is log p(x | 1) / p(x | 0) + o, o the log-odds of class 1 that it holds already. At a shift d the task's log-odds of class 1
are o + d and those of a case s + d: tasks differ in prevalence only. The likelihood of a case without label is
pi p(x | 1) + (1 - pi) p(x | 0), with logit pi = o + d.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from metamedica.functional.task_posterior import task_posterior

_GRID = 81
_NEAREST, _FARTHEST = 8.0, 25.0
"""So far on either side is searched at least and at most, in nats; in between, five standard deviations of the prior."""
_HALVINGS = 50
_LOOSE = 5.0
"""Prior standard deviation of the log-odds that a score holds."""


class Shift(NamedTuple):
    """Normal law of each task's shift d."""

    mean: Float[Tensor, " tasks"]
    variance: Float[Tensor, " tasks"]


def unlabelled_shift(
    score: Float[Tensor, "tasks n"],
    weight: Float[Tensor, "tasks n"],
    *,
    odds: Float[Tensor, ""],
    variance: Float[Tensor, ""],
) -> Shift:
    """Return the maximum a posteriori of each task's shift, and Laplace's variance there, under d ~ N(0, variance).

    With a flat prior it is the fixed point of expectation maximisation, pi = mean of P(1 | x) at the log-odds s + d (Saerens et al. 2002, eq.
    2.4). Of several maxima the highest on a grid is refined by halving; no case makes the law wider than the prior.

    Args:
        score: s of each case without label; finite where padded.
        weight: how much each counts for; 0 where padded.
        odds: o.
        variance: of the prior, above 0.
    """
    step = (5 * variance.sqrt()).clamp(_NEAREST, _FARTHEST) / (_GRID // 2)
    places = (torch.arange(_GRID, dtype=score.dtype, device=score.device) - _GRID // 2) * step

    def height(at: Tensor) -> Tensor:
        each = logsigmoid(-(odds + at))[:, None] + softplus(score + at[:, None])  # over p(x | 0)
        return (weight * each).sum(-1) - 0.5 * at.square() / variance

    def slope(at: Tensor) -> Tensor:
        expected = torch.sigmoid(score + at[:, None]) - torch.sigmoid(odds + at)[:, None]
        return (weight * expected).sum(-1) - at / variance

    tasks = len(score)
    heights = torch.stack([height(place.expand(tasks)) for place in places], dim=-1)
    best = places[heights.argmax(-1)]
    low, high = best - step, best + step
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rises = slope(middle) > 0
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    found = (low + high) / 2
    prevalence, probability = torch.sigmoid(odds + found), torch.sigmoid(score + found[:, None])
    told = weight.sum(-1) * prevalence * (1 - prevalence) - (weight * probability * (1 - probability)).sum(-1)
    return Shift(found, 1 / (1 / variance + told.clamp(min=0)))


def odds_in_score(
    score: Float[Tensor, " n"], targets: Float[Tensor, " n"], log_odds: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return o such that  score - o + log-odds of the task's prevalence  has the best likelihood.

    Args:
        score: of each case of earlier tasks, by a model that has not seen its task.
        targets: 0 / 1.
        log_odds: of the prevalence of each case's task, known.
    """
    design = torch.full_like(score, -_LOOSE)[None, :, None]
    weight = torch.ones_like(score)[None]
    found = task_posterior(design, (score + log_odds)[None], targets[None], weight, kind="binary")
    return _LOOSE * found.mode[0, 0]
