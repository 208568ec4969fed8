"""Ridge regression per task in the dual (cases x cases), with the penalty chosen by exact leave-one-out, batched over tasks.

For centred inputs X (n x d), Gram K = X X^T and centred targets y, the fit with an unpenalised intercept is
alpha = (K + penalty I)^-1 y, w = X^T alpha. Every leave-one-out residual follows from this one fit (Allen 1974, PRESS; Hastie et al.
2009, eq. 7.64): e_i = penalty alpha_i / (penalty [(K + penalty I)^-1]_ii - 1/n). Nothing is refitted.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Normal

RELATIVE_PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Times the mean squared distance of a case from the centre; strongest first, so that a tie goes to the strongest."""
PRIOR_CASES = 2.0
"""Both variances are pulled towards 1 (the variance of standardised targets) with the weight of this many cases."""
_LEAST = 1e-6


class RidgeFit(NamedTuple):
    """What ridge regression learned of each task."""

    weight: Float[Tensor, "tasks d"]
    centre: Float[Tensor, "tasks d"]
    offset: Float[Tensor, " tasks"]
    inputs: Float[Tensor, "tasks n d"]
    """Centred support inputs, 0 where padded."""
    factor: Float[Tensor, "tasks n n"]
    """Lower Cholesky factor of K + penalty I."""
    penalty: Float[Tensor, " tasks"]
    noise: Float[Tensor, " tasks"]
    """Noise variance that gives the leave-one-out residuals unit variance."""
    left_out: Float[Tensor, " tasks"]
    """Mean squared leave-one-out residual."""
    cases: Float[Tensor, " tasks"]
    """Real cases of each task."""


def centred(
    inputs: Float[Tensor, "tasks n d"], mask: Bool[Tensor, "tasks n"]
) -> tuple[Float[Tensor, "tasks n d"], Float[Tensor, "tasks d"]]:
    """Return the inputs minus their mean over real cases (0 where padded), and that mean."""
    inputs = inputs.masked_fill(~mask[..., None], 0)
    centre = inputs.sum(1) / mask.sum(1).clamp(min=1)[:, None]
    return (inputs - centre[:, None]).masked_fill(~mask[..., None], 0), centre


def usual_square(gram: Float[Tensor, "tasks n n"], mask: Bool[Tensor, "tasks n"]) -> Float[Tensor, " tasks"]:
    """Return the mean squared distance of a case from the centre; 1 where all cases are the same."""
    square = gram.diagonal(dim1=-2, dim2=-1).sum(-1) / mask.sum(1).clamp(min=1)
    return torch.where(square > _LEAST, square, torch.ones_like(square))


def leave_one_out_residuals(
    gram: Float[Tensor, "tasks n n"],
    targets: Float[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    penalties: Float[Tensor, "tasks grid"],
) -> Float[Tensor, "tasks n grid"]:
    """Return, per case and penalty, target minus the prediction of a ridge regression fitted without that case.

    Args:
        gram: inner products of centred inputs, 0 where padded.
        targets: centred targets, 0 where padded.
        mask: real cases. A task of one case has residual 0 (there is nothing to leave out from).
        penalties: positive, absolute.
    """
    values, vectors = torch.linalg.eigh(gram)
    shrink = penalties[:, None, :] / (values.clamp(min=0)[..., None] + penalties[:, None, :])
    residual = vectors @ (shrink * (vectors.mT @ targets[..., None]))
    count = mask.sum(1).clamp(min=1).to(gram.dtype)  # the reciprocal of an integer would be in single precision
    kept = (vectors**2) @ shrink - 1 / count[:, None, None]
    return torch.where(kept > _LEAST, residual / kept.clamp(min=_LEAST), 0).masked_fill(~mask[..., None], 0)


def first_best(scores: Float[Tensor, "tasks grid"]) -> Float[Tensor, "tasks grid"]:
    """Return a one-hot row at the lowest score; of scores that agree to 1e-6, the first (rounding must not choose)."""
    best = scores <= scores.amin(-1, keepdim=True) * (1 + 1e-6) + 1e-12
    return torch.nn.functional.one_hot(best.to(torch.int8).argmax(-1), scores.shape[-1]).to(scores.dtype)


def centred_targets(
    targets: Float[Tensor, "tasks n"], mask: Bool[Tensor, "tasks n"]
) -> tuple[Float[Tensor, "tasks n"], Float[Tensor, " tasks"]]:
    """Return the targets minus their mean over real cases (0 where padded), and that mean."""
    offset = targets.masked_fill(~mask, 0).sum(1) / mask.sum(1).to(targets.dtype).clamp(min=1)
    return (targets - offset[:, None]).masked_fill(~mask, 0), offset


def by_root_width(embedded: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Return the embedding divided by sqrt(dim): an inner product is then a mean over columns, and one penalty serves any width."""
    root: float = embedded.shape[-1] ** 0.5
    return embedded / root


def penalty_at_least(
    penalty: Float[Tensor, ""], share: float, inputs: Float[Tensor, "tasks n d"], mask: Bool[Tensor, "tasks n"]
) -> Float[Tensor, " tasks"]:
    """Return a learned penalty for each task, but no less than `share` of the mean squared distance of a case from the centre.

    Where an embedding grows or a penalty shrinks beyond that in training, single precision no longer solves for the head.
    """
    shifted, _ = centred(inputs, mask)
    return torch.maximum(penalty, share * shifted.square().sum((1, 2)) / mask.sum(1).clamp(min=1))


def dual_factor(gram: Float[Tensor, "tasks n n"], penalty: Float[Tensor, " tasks"]) -> Float[Tensor, "tasks n n"]:
    """Return the lower Cholesky factor of K + penalty I."""
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    factor: Tensor = torch.linalg.cholesky(gram + penalty[:, None, None] * eye)
    return factor


def fit_ridge(
    inputs: Float[Tensor, "tasks n d"],
    targets: Float[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    *,
    relative_penalties: tuple[float, ...] = RELATIVE_PENALTIES,
) -> RidgeFit:
    """Return the ridge fit of each task at the penalty with the least squared leave-one-out error.

    Differentiable in inputs and targets, apart from the choice of the penalty.
    """
    shifted, _ = centred(inputs, mask)
    gram = shifted @ shifted.mT
    grid = usual_square(gram, mask)[:, None] * gram.new_tensor(relative_penalties)
    with torch.no_grad():
        goals, _ = centred_targets(targets, mask)
        errors = leave_one_out_residuals(gram, goals, mask, grid.detach()).square().sum(1)
        chosen = first_best(errors)
    return fit_ridge_at(inputs, targets, mask, (grid * chosen).sum(-1))


def fit_ridge_at(
    inputs: Float[Tensor, "tasks n d"],
    targets: Float[Tensor, "tasks n"],
    mask: Bool[Tensor, "tasks n"],
    penalty: Float[Tensor, " tasks"],
) -> RidgeFit:
    """Return the ridge fit of each task at a given penalty; differentiable in inputs, targets and penalty."""
    inputs, centre = centred(inputs, mask)
    targets, offset = centred_targets(targets, mask)
    count = mask.sum(1).to(inputs.dtype)
    factor = dual_factor(inputs @ inputs.mT, penalty)
    alpha = torch.cholesky_solve(targets[..., None], factor)[..., 0]
    inverse = torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)
    kept = penalty[:, None] * inverse - 1 / count.clamp(min=1)[:, None]
    residual = torch.where(kept > _LEAST, penalty[:, None] * alpha / kept.clamp(min=_LEAST), 0).masked_fill(~mask, 0)
    noise = (PRIOR_CASES + (residual.square() * kept).sum(1)) / (PRIOR_CASES + count)
    left_out = (PRIOR_CASES + residual.square().sum(1)) / (PRIOR_CASES + count)
    weight = (inputs.mT @ alpha[..., None])[..., 0]
    return RidgeFit(weight, centre, offset, inputs, factor, penalty, noise, left_out, count)


def ridge_law(fit: RidgeFit, inputs: Float[Tensor, "tasks m d"]) -> Normal:
    """Return the predictive law of each query input: noise x (1 + leverage), leverage = 1/n + x^T (X^T X + penalty I)^-1 x.

    The same as Bayesian linear regression with prior variance noise / penalty per weight (Bishop 2006, eq. 3.58), in the dual.
    """
    shifted = inputs - fit.centre[:, None]
    mean = torch.einsum("tmd,td->tm", shifted, fit.weight) + fit.offset[:, None]
    half = torch.linalg.solve_triangular(fit.factor, fit.inputs @ shifted.mT, upper=False)
    spread = (shifted.square().sum(-1) - half.square().sum(1)).clamp(min=0) / fit.penalty[:, None]
    variance = fit.noise[:, None] * (1 + 1 / fit.cases.clamp(min=1)[:, None] + spread)
    return Normal(mean, variance.sqrt(), validate_args=False)
