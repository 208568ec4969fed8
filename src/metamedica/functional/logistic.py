"""L2-regularised softmax regression per task in the dual (cases x cases), batched over tasks; binary is the case of two classes.

Minimises  -sum_i log softmax(f_i)[y_i] + 1/2 sum_c (|w_c|^2 / signal + b_c^2 / BIAS_VARIANCE)  with f = X W + b, X centred. At the
optimum w_c = signal X^T alpha_c, b_c = BIAS_VARIANCE sum alpha_c with alpha = onehot(y) - p, so Newton's method needs only the n x n
matrix S = signal X X^T + BIAS_VARIANCE, and one Cholesky factor a class (Rasmussen & Williams 2006, algorithm 3.3). The bias has a
prior, so a support of one class has a finite answer too. The signal variance is chosen among a few by approximate leave-one-out.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Categorical

from metamedica.functional.ridge import centred, first_best, usual_square

BIAS_VARIANCE = 4.0
SIGNALS = (0.25, 1.0, 4.0, 16.0)
"""Prior variance of a class's score for a case at the usual distance from the centre; strongest penalty first."""
_MOST_STEPS = 40
_DAMPING = (1.0, 0.5, 0.25, 0.0625, 0.015625)


class LogisticFit(NamedTuple):
    """What softmax regression learned of each task: scores = (x - centre) weight + bias."""

    weight: Float[Tensor, "tasks d classes"]
    bias: Float[Tensor, "tasks classes"]
    centre: Float[Tensor, "tasks d"]
    signal: Float[Tensor, " tasks"]
    """Chosen prior variance per weight (1 / penalty)."""


class _Mode(NamedTuple):
    """One Newton step: dual weights, scores, and the pieces of the posterior covariance at the scores it started from."""

    alpha: Float[Tensor, "*batch classes n"]
    scores: Float[Tensor, "*batch classes n"]
    precision: Float[Tensor, "*batch classes n n"]
    joint: Float[Tensor, "*batch n n"]


def _newton(
    covariance: Float[Tensor, "*batch n n"],
    members: Float[Tensor, "*batch classes n"],
    mask: Bool[Tensor, "*batch n"],
    scores: Float[Tensor, "*batch classes n"],
    offset: Float[Tensor, "*batch classes n"] | float = 0.0,
) -> _Mode:
    """Return the full Newton step from `scores` (Rasmussen & Williams 2006, algorithm 3.3); padded cases stay at `offset`."""
    eye = torch.eye(mask.shape[-1], dtype=covariance.dtype, device=covariance.device)
    probability = torch.softmax(scores, dim=-2)
    root = probability.sqrt()
    each = covariance[..., None, :, :]
    inner = torch.linalg.cholesky(eye + root[..., :, None] * each * root[..., None, :])
    precision = torch.cholesky_inverse(inner) * root[..., :, None] * root[..., None, :]
    joint = torch.linalg.cholesky(precision.sum(-3))
    weighted = probability * (scores - offset)
    slope = (members - probability).masked_fill(~mask[..., None, :], 0)
    goal = weighted - probability * weighted.sum(-2, keepdim=True) + slope
    pulled = (precision @ (each @ goal[..., None]))[..., 0]
    shared = torch.cholesky_solve(pulled.sum(-2)[..., None], joint)[..., 0]
    alpha = goal - pulled + (precision @ shared[..., None, :, None])[..., 0]
    return _Mode(alpha, (each @ alpha[..., None])[..., 0] + offset, precision, joint)


def _objective(
    alpha: Float[Tensor, "*#batch classes n"],
    scores: Float[Tensor, "*#batch classes n"],
    members: Float[Tensor, "*#batch classes n"],
    offset: Float[Tensor, "*#batch classes n"] | float,
) -> Float[Tensor, "*batch"]:
    return (0.5 * alpha * (scores - offset) - members * torch.log_softmax(scores, dim=-2)).sum((-1, -2))


def solve(
    covariance: Float[Tensor, "*batch n n"],
    members: Float[Tensor, "*batch classes n"],
    mask: Bool[Tensor, "*batch n"],
    offset: Float[Tensor, "*batch classes n"] | float = 0.0,
) -> Float[Tensor, "*batch classes n"]:
    """Return the scores of the support cases at the optimum, by damped Newton steps; `offset` where padded. Carries no gradient.

    Args:
        covariance: prior covariance of one class's scores, 0 where padded.
        members: one-hot classes, 0 where padded.
        mask: real cases.
        offset: prior mean of the scores.
    """
    tolerance = torch.finfo(covariance.dtype).eps ** 0.5
    with torch.no_grad():
        alpha, scores = torch.zeros_like(members), torch.zeros_like(members) + offset
        damping = covariance.new_tensor(_DAMPING)
        for _ in range(_MOST_STEPS):
            full = _newton(covariance, members, mask, scores, offset)
            before = _objective(alpha, scores, members, offset)
            along = damping.view(-1, *[1] * members.dim())
            tried = _objective(
                alpha + along * (full.alpha - alpha), scores + along * (full.scores - scores), members, offset
            )
            fine = tried <= before + tolerance * (1 + before.abs())
            fine[-1] = True
            step = damping[fine.to(torch.int8).argmax(0)][..., None, None]  # the longest step that does not go uphill
            moved = (full.scores - scores).abs().amax()
            alpha, scores = alpha + step * (full.alpha - alpha), scores + step * (full.scores - scores)
            if moved < tolerance * (1 + scores.abs().amax()):
                break
    return scores


def leave_one_out_scores(
    mode: "_Mode", covariance: Float[Tensor, "*batch n n"], members: Float[Tensor, "*batch classes n"]
) -> Float[Tensor, "*batch n classes"]:
    """Return approximate leave-one-out scores: one Newton step after a case's term is taken away (Rad & Maleki 2020, eq. 6).

    f_-i = f_i - V_i (I - W_i V_i)^-1 (y_i - p_i), with V_i the posterior covariance of case i's scores and W_i = diag(p_i) - p_i p_i^T.
    """
    probability = torch.softmax(mode.scores, dim=-2)
    each = covariance[..., None, :, :]
    pulled = mode.precision @ each
    half = torch.linalg.solve_triangular(mode.joint[..., None, :, :], pulled, upper=False)
    own = covariance.diagonal(dim1=-2, dim2=-1)[..., None, :] - (each * pulled).sum(-2)
    block = torch.diag_embed(own.movedim(-2, -1)) + torch.einsum("...cki,...dki->...icd", half, half)
    share = probability.movedim(-2, -1)
    curvature = torch.diag_embed(share) - share[..., :, None] * share[..., None, :]
    eye = torch.eye(share.shape[-1], dtype=share.dtype, device=share.device)
    slope = (members - probability).movedim(-2, -1)[..., None]
    shift: Tensor = block @ torch.linalg.solve(eye - curvature @ block, slope)
    return mode.scores.movedim(-2, -1) - shift[..., 0]


def fit_logistic(
    inputs: Float[Tensor, "tasks n d"],
    members: Float[Tensor, "tasks n classes"],
    mask: Bool[Tensor, "tasks n"],
    *,
    signals: tuple[float, ...] = SIGNALS,
) -> LogisticFit:
    """Return the softmax regression of each task at the signal variance with the best approximate leave-one-out likelihood.

    Differentiable in inputs as `fit_logistic_at`, apart from the choice of the variance.
    """
    shifted, _ = centred(inputs, mask)
    gram = shifted @ shifted.mT
    grid = gram.new_tensor(signals) / usual_square(gram, mask)[:, None]
    with torch.no_grad():
        onehot = members.mT.to(inputs.dtype)
        every = _prior_covariance(gram[:, None], mask[:, None], grid)
        wide, real = onehot[:, None].expand(-1, len(signals), -1, -1), mask[:, None].expand(-1, len(signals), -1)
        scores = solve(every, wide, real)
        left_out = leave_one_out_scores(_newton(every, wide, real, scores), every, wide)
        likelihood = (torch.log_softmax(left_out, -1) * wide.mT).sum((-1, -2))
        chosen = first_best(-likelihood)
        start = torch.einsum("tg,tgcn->tcn", chosen, scores)
    return fit_logistic_at(inputs, members, mask, (grid * chosen).sum(-1), scores=start)


def fit_logistic_at(
    inputs: Float[Tensor, "tasks n d"],
    members: Float[Tensor, "tasks n classes"],
    mask: Bool[Tensor, "tasks n"],
    signal: Float[Tensor, " tasks"],
    *,
    scores: Float[Tensor, "tasks classes n"] | None = None,
) -> LogisticFit:
    """Return the softmax regression of each task at a given prior variance of a weight.

    Differentiable in inputs and variance through one Newton step from the optimum: there the step's slope in the scores is 0,
    so that what is left is the implicit gradient, to first order exactly.

    Args:
        inputs: need not be centred.
        members: one-hot classes, 0 where padded.
        mask: real cases.
        signal: 1 / penalty of a weight.
        scores: of the support at the optimum, where they are known already.
    """
    inputs, centre = centred(inputs, mask)
    onehot = members.mT.to(inputs.dtype)
    covariance = _prior_covariance(inputs @ inputs.mT, mask, signal)
    mode = _newton(covariance, onehot, mask, solve(covariance, onehot, mask) if scores is None else scores)
    weight = signal[:, None, None] * (inputs.mT @ mode.alpha.mT)
    return LogisticFit(weight, BIAS_VARIANCE * mode.alpha.sum(-1), centre, signal)


def _prior_covariance(
    gram: Float[Tensor, "*#batch n n"], mask: Bool[Tensor, "*#batch n"], signal: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch n n"]:
    """Return the prior covariance of one class's scores, 0 where padded."""
    both = (mask[..., :, None] & mask[..., None, :]).to(gram.dtype)
    return signal[..., None, None] * gram + BIAS_VARIANCE * both


def logistic_law(fit: LogisticFit, inputs: Float[Tensor, "tasks m d"]) -> Categorical:
    """Return the class probabilities of each query input."""
    return Categorical(logits=(inputs - fit.centre[:, None]) @ fit.weight + fit.bias[:, None], validate_args=False)


class LaplaceFit(NamedTuple):
    """Laplace's approximation of the posterior of class scores: a Gaussian at the mode with the curvature there."""

    alpha: Float[Tensor, "tasks classes n"]
    """Class membership minus probability at the mode."""
    precision: Float[Tensor, "tasks classes n n"]
    joint: Float[Tensor, "tasks n n"]


def fit_laplace(
    covariance: Float[Tensor, "tasks n n"],
    members: Float[Tensor, "tasks n classes"],
    mask: Bool[Tensor, "tasks n"],
    offset: Float[Tensor, "tasks n classes"],
) -> LaplaceFit:
    """Return Laplace's approximation for softmax regression (MacKay 1992; Rasmussen & Williams 2006, section 3.5).

    Differentiable in covariance and offset: the mode moves as the implicit function theorem says, and the curvature with it.

    Args:
        covariance: prior covariance of one class's scores, the same for every class; 0 where padded.
        members: one-hot classes, 0 where padded; a class may have no case.
        mask: real cases.
        offset: prior mean of the scores.
    """
    onehot, start = members.mT, offset.mT
    mode = _newton(covariance, onehot, mask, solve(covariance, onehot, mask, start), start)
    there = _newton(covariance, onehot, mask, mode.scores, start)  # the curvature at the mode, not where the step began
    return LaplaceFit(there.alpha, there.precision, there.joint)


def laplace_scores(
    fit: LaplaceFit,
    cross: Float[Tensor, "tasks m n"],
    prior: Float[Tensor, "tasks m"],
    offset: Float[Tensor, "tasks m classes"],
) -> tuple[Float[Tensor, "tasks m classes"], Float[Tensor, "tasks m classes classes"]]:
    """Return mean and covariance of the class scores of each query (Rasmussen & Williams 2006, algorithm 3.4).

    Args:
        cross: prior covariance of query and support scores of one class; 0 where the support is padded.
        prior: prior variance of a query score.
        offset: prior mean of the query scores.
    """
    towards = cross.mT[:, None]
    pulled = fit.precision @ towards
    half = torch.linalg.solve_triangular(fit.joint[:, None], pulled, upper=False)
    own = prior[:, None] - (towards * pulled).sum(-2)
    covariance = torch.diag_embed(own.mT) + torch.einsum("tcnm,tdnm->tmcd", half, half)
    return cross @ fit.alpha.mT + offset, covariance


def moderated(
    mean: Float[Tensor, "tasks m classes"], covariance: Float[Tensor, "tasks m classes classes"]
) -> Categorical:
    """Return class probabilities averaged over Gaussian scores, approximately.

    Every difference of two scores is shrunk by (1 + pi variance / 8)^(-1/2). For two classes that is the moderated output of MacKay
    (1992, The evidence framework applied to classification networks); for more, 1 / sum_d exp(shrunk (f_d - f_c)), normalised (Lu, Ie
    and Sha 2020, arXiv:2006.07584), nearer to the average than the softmax of the mean, but not exact.
    """
    own = covariance.diagonal(dim1=-2, dim2=-1)
    variance = (own[..., :, None] + own[..., None, :] - 2 * covariance).clamp(min=0)
    ahead = (mean[..., None, :] - mean[..., :, None]) / (1 + math.pi / 8 * variance).sqrt()
    return Categorical(logits=-torch.logsumexp(ahead, dim=-1), validate_args=False)
