"""Kernel hyper-parameters of a Gaussian process fitted per task: Newton's method on the marginal likelihood, batched, masked.

Targets y (standard units, or +1 / -1 per class) have covariance

    Sigma = scale M(length) + b 1 1^T + noise I

with M the Matern kernel of smoothness 5/2 and b = `gaussian_process.MEAN_VARIANCE`. Per task, psi = log(length, scale, noise) minimises
-log N(y; 0, Sigma) + 1/2 sum_i ((psi_i - centre_i) / spread)^2: the prior is log-normal with its mode at exp(centre), and keeps every
hyper-parameter finite at one case. First and second derivatives are closed forms (Rasmussen & Williams 2006, eq. 5.9 and its derivative).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.gaussian_process import MEAN_VARIANCE, condition_on_covariance, log_marginal_likelihood
from metamedica.functional.kernels import matern_kernel

MOST_STEPS = 60
LONGEST_STEP = 2.0
"""In units of psi (a factor of e^2); far from the optimum the quadratic model says little."""
_DAMPING = (1.0, 0.5, 0.25, 0.0625, 0.015625, 0.001)
_STILL = 1e-9
_ROUNDING = 1e-12
_LEAST = 1e-6


class KernelPrior(NamedTuple):
    """Normal prior of the logarithms of length, scale and noise."""

    centre: tuple[float, float, float]
    spread: float


class Derivatives(NamedTuple):
    """First and second derivative of the negative log posterior in psi."""

    slope: Float[Tensor, "tasks 3"]
    curvature: Float[Tensor, "tasks 3 3"]


def target_covariance(
    squares: Float[Tensor, "*batch n n"], psi: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch n n"]:
    """Return Sigma from squared distances and psi."""
    length, scale, noise = psi.exp()[..., None, None, :].unbind(-1)
    eye = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    return scale * matern_kernel(squares / length**2) + MEAN_VARIANCE + noise * eye


def _centre(prior: KernelPrior, like: Tensor) -> Float[Tensor, " 3"]:
    return like.new_tensor(prior.centre)


def negative_log_posterior(
    squares: Float[Tensor, "tasks n n"],
    targets: Float[Tensor, "tasks n outputs"],
    mask: Bool[Tensor, "tasks n"],
    psi: Float[Tensor, "tasks 3"],
    prior: KernelPrior,
) -> Float[Tensor, " tasks"]:
    """Return what the fit minimises, up to a constant of the prior; outputs share psi."""
    covariance = target_covariance(squares, psi)[:, None]
    posterior = condition_on_covariance(covariance, targets, mask, psi.new_zeros(1))
    penalty = 0.5 * ((psi - _centre(prior, psi)) / prior.spread).square().sum(-1)
    return penalty - log_marginal_likelihood(posterior, mask)[:, 0]


def derivatives(
    squares: Float[Tensor, "tasks n n"],
    targets: Float[Tensor, "tasks n outputs"],
    mask: Bool[Tensor, "tasks n"],
    psi: Float[Tensor, "tasks 3"],
    prior: KernelPrior,
) -> Derivatives:
    """Return the derivatives of `negative_log_posterior` in psi, themselves differentiable in `squares`.

    With A = Sigma^-1, alpha = A y and W = outputs A - alpha alpha^T: slope_i = 1/2 <W, Sigma_i> and
    curvature_ij = 1/2 <W, Sigma_ij> - outputs/2 tr(A Sigma_i A Sigma_j) + alpha^T Sigma_i A Sigma_j alpha.
    """
    both = mask[:, :, None] & mask[:, None, :]
    eye = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    length, scale, noise = psi.exp()[..., None, None, :].unbind(-1)
    kernel = scale * matern_kernel(squares / length**2)
    ratio = _root(5 * squares) / length
    fall = scale * torch.exp(-ratio) * ratio**2 / 3
    first = torch.stack([fall * (1 + ratio), kernel, noise * eye], dim=1).masked_fill(~both[:, None], 0)
    second = (fall * (ratio**2 - 2 * ratio - 2)).masked_fill(~both, 0)  # in the length twice; the others are in `first`
    inverse = torch.cholesky_inverse(
        torch.linalg.cholesky(torch.where(both, kernel + MEAN_VARIANCE + noise * eye, eye))
    )
    alpha = inverse @ targets
    outputs = targets.shape[-1]
    misfit = 0.5 * (outputs * inverse - alpha @ alpha.mT)
    slope = (misfit[:, None] * first).sum((-1, -2))
    by_length, by_scale, by_noise = slope.unbind(-1)
    zero, twice = torch.zeros_like(by_scale), (misfit * second).sum((-1, -2))
    straight = torch.stack([twice, by_length, zero, by_length, by_scale, zero, zero, zero, by_noise], dim=-1)
    whitened = inverse[:, None] @ first
    bent = (whitened[:, :, None] * whitened.mT[:, None]).sum((-1, -2))
    moved = first @ alpha[:, None]
    pulled = (moved[:, :, None] * (inverse[:, None] @ moved)[:, None]).sum((-1, -2))
    stiff = torch.eye(3, dtype=psi.dtype, device=psi.device) / prior.spread**2
    curvature = straight.reshape(-1, 3, 3) - 0.5 * outputs * bent + pulled + stiff
    return Derivatives(slope + (psi - _centre(prior, psi)) / prior.spread**2, curvature)


def _root(squares: Tensor) -> Tensor:
    return (squares + torch.finfo(squares.dtype).tiny).sqrt()


def _downhill(
    psi: Float[Tensor, "tasks 3"], step: Float[Tensor, "tasks 3"], loss: Callable[[Tensor], Tensor]
) -> Float[Tensor, "tasks 3"]:
    """Return psi after the longest share of each task's step that does not go uphill; where none is found, psi itself."""
    now = loss(psi)
    highest, settled, moved = now + _ROUNDING * (1 + now.abs()), torch.zeros_like(now, dtype=torch.bool), psi
    for damping in _DAMPING:
        tried = psi + damping * step
        fine = (loss(tried) <= highest) & ~settled
        moved, settled = torch.where(fine[:, None], tried, moved), settled | fine
        if bool(settled.all()):
            break
    return moved


def fit_kernel(
    squares: Float[Tensor, "tasks n n"],
    targets: Float[Tensor, "tasks n outputs"],
    mask: Bool[Tensor, "tasks n"],
    prior: KernelPrior,
) -> Float[Tensor, "tasks 3"]:
    """Return psi of each task at the optimum, in double precision, differentiable in `squares` by the implicit function theorem.

    Newton steps from the prior's centre along the curvature with absolute eigenvalues, so that they go downhill where it is not convex
    too, each the longest of a few that does not go uphill. One more Newton step, which moves nothing, then carries the gradient:
    d psi / d squares = -curvature^-1 d slope / d squares, exact at the optimum.

    Args:
        squares: squared distances of the support's embedding.
        targets: 0 where padded.
        mask: real cases.
        prior: of psi.
    """
    squares, targets = squares.double(), targets.double()
    with torch.no_grad():
        psi = _centre(prior, squares).expand(len(squares), 3).clone()
        for _ in range(MOST_STEPS):
            now = derivatives(squares, targets, mask, psi, prior)
            values, vectors = torch.linalg.eigh(now.curvature)
            along = (vectors.mT @ now.slope[..., None]) / values.abs().clamp(min=_LEAST)[..., None]
            step = -(vectors @ along)[..., 0]
            step = step * (LONGEST_STEP / step.abs().amax(-1, keepdim=True).clamp(min=LONGEST_STEP))
            psi = _downhill(psi, step, lambda tried: negative_log_posterior(squares, targets, mask, tried, prior))
            if step.abs().amax() < _STILL:
                break
    last = derivatives(squares, targets, mask, psi, prior)
    fitted: Tensor = psi - torch.linalg.solve(last.curvature.detach(), last.slope)
    return fitted


def usual_distance(squares: Float[Tensor, "tasks n n"], mask: Bool[Tensor, "tasks n"]) -> Float[Tensor, " tasks"]:
    """Return half the mean squared distance of two real cases; 1 where there is one case only, or all are the same."""
    both = mask[:, :, None] & mask[:, None, :]
    count = mask.sum(1).to(squares.dtype)
    half = 0.5 * squares.masked_fill(~both, 0).sum((1, 2)) / (count * (count - 1)).clamp(min=1)
    return torch.where(half > _LEAST, half, torch.ones_like(half))
