"""The prevalence of a new task from its cases without label, its labels, and what earlier tasks' prevalences were."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import betaln
from torch import Tensor

_USUAL_STRENGTH = 10.0
_FARTHEST = 20.0
_HALVINGS = 60


class PrevalencePrior(NamedTuple):
    """Beta law of the prevalence: as if so many cases of each class had been seen."""

    positive: Float[Tensor, ""]
    negative: Float[Tensor, ""]


def fit_prevalence_prior(positives: Float[Tensor, " tasks"], counts: Float[Tensor, " tasks"]) -> PrevalencePrior:
    """Return the Beta law that earlier tasks teach: the most likely one of their counts, pulled to a weak one with the weight of one task.

    The likelihood is the beta-binomial's (Gelman et al. 2013, Bayesian data analysis, section 5.3); the logarithm of its strength (the sum of
    both numbers) is normal about that of 10 with standard deviation 1, and one task more has half of its 2 cases positive.

    Args:
        positives: cases of class 1 of each task.
        counts: cases of each task.
    """
    k, n = np.append(positives.double().numpy(), 1.0), np.append(counts.double().numpy(), 2.0)

    def loss(at: Any) -> float:
        strength = np.exp(at[1])
        a, b = strength / (1 + np.exp(-at[0])), strength / (1 + np.exp(at[0]))
        likelihood = (betaln(a + k, b + n - k) - betaln(a, b)).sum()
        return float(-likelihood + 0.5 * (at[1] - np.log(_USUAL_STRENGTH)) ** 2)

    start = np.array([np.log(k.sum() / (n - k).sum()) if 0 < k.sum() < n.sum() else 0.0, np.log(_USUAL_STRENGTH)])
    at = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    mean, strength = 1 / (1 + np.exp(-at[0])), np.exp(at[1])
    return PrevalencePrior(
        torch.tensor(strength * mean, dtype=torch.float64), torch.tensor(strength * (1 - mean), dtype=torch.float64)
    )


def log_odds_of_prevalence(
    log_ratio: Float[Tensor, "tasks n"],
    weight: Float[Tensor, "tasks n"],
    positives: Float[Tensor, " tasks"],
    labelled: Float[Tensor, " tasks"],
    prior: PrevalencePrior,
) -> Float[Tensor, " tasks"]:
    """Return logit of each task's prevalence at the maximum a posteriori of the logit.

    That is the fixed point of expectation maximisation (Saerens et al. 2002, eq. 2.4) with labels and prior counted in,
    pi = (a + k + sum of P(1 | x)) / (a + b + labels + cases); the left side less the right one changes sign once, so that halving finds it.

    Args:
        log_ratio: log p(x | 1) / p(x | 0) of each case without label; finite where padded.
        weight: how much each counts for; 0 where padded.
        positives: labelled cases of class 1.
        labelled: cases.
        prior: of the prevalence.
    """
    seen = prior.positive + positives
    total = prior.positive + prior.negative + labelled + weight.sum(-1)
    low, high = torch.full_like(total, -_FARTHEST), torch.full_like(total, _FARTHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = seen + (weight * torch.sigmoid(log_ratio + middle[:, None])).sum(-1)
        rises = expected > torch.sigmoid(middle) * total
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    return (low + high) / 2
