"""Means and covariances of cases, shrunk to those of a source; roots of covariances and their leading directions."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Moments(NamedTuple):
    """Of the cases of each task."""

    cases: Float[Tensor, "*tasks"]
    mean: Float[Tensor, "*tasks d"]
    covariance: Float[Tensor, "*tasks d d"]


def moments(flat: Float[Tensor, "*tasks n d"], weight: Float[Tensor, "*tasks n"]) -> Moments:
    """Return count, mean and covariance (divided by the count) of each task's cases; 0 where there is none.

    Args:
        flat: finite where padded.
        weight: 1 for a case, 0 where padded.
    """
    count = weight.sum(-1)
    share = weight / count.clamp(min=1)[..., None]
    mean = (share[..., None] * flat).sum(-2)
    apart = flat - mean[..., None, :]
    return Moments(count, mean, apart.mT @ (share[..., None] * apart))


def shrunk(own: Moments, source: Moments, *, mean_cases: Tensor, spread_cases: Tensor) -> Moments:
    """Return moments between a task's own and the source's.

    Args:
        own: of each task.
        source: of all sources together.
        mean_cases: so many cases the source's mean is worth, above 0; infinite: the own one does not count.
        spread_cases: the same of the covariance.
    """
    towards = own.cases / (own.cases + mean_cases)
    mean = source.mean + towards[..., None] * (own.mean - source.mean)
    part = (own.cases / (own.cases + spread_cases))[..., None, None]
    return Moments(own.cases, mean, source.covariance + part * (own.covariance - source.covariance))


def root(covariance: Float[Tensor, "*batch d d"], *, power: float) -> Float[Tensor, "*batch d d"]:
    """Return the power (1/2 or -1/2, say) of a positive definite matrix."""
    value, vector = torch.linalg.eigh(covariance)
    found: Tensor = (vector * value.clamp(min=torch.finfo(value.dtype).tiny).pow(power)[..., None, :]) @ vector.mT
    return found


def leading(covariances: Float[Tensor, "batch d d"], *, share: float) -> Float[Tensor, "batch d d"]:
    """Return the projection on the leading eigenvectors of each symmetric matrix: as many as hold `share` of the first one's trace.

    Args:
        covariances: positive definite.
        share: above 0, up to 1 (all of them).
    """
    value, vector = torch.linalg.eigh(covariances)
    held = value[0].flip(0).cumsum(0) / value[0].sum()
    # A sum of all may fall short of 1 by rounding.
    number = min(int((held < share - 1e-9).sum()) + 1, len(held))
    first = vector[..., -number:]
    found: Tensor = first @ first.mT
    return found
