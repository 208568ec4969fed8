"""Exact Gaussian-process regression with the hyper-parameters averaged over a grid, batched over tasks.

For task t and grid cell g the targets y (standard units, or +1 / -1 per class) have covariance

    Sigma_g = (1 - r_g) * sum_c w_gc K_c  +  b 1 1^T  +  r_g I

with kernel weights w_g (they sum to 1), noise share r_g and prior variance b of the task's mean. Cells are weighted by
`log prior + log N(y; 0, Sigma_g)` (Rasmussen & Williams 2006, eq. 2.30) and averaged, not maximised over: with 16 cases the evidence
rarely singles out one cell, and the average needs no optimiser, so adaptation is a few batched Cholesky factors.

Classes are learned as least-squares classification: targets +1 / -1, and the probability of +1 is the exact conditional
N(+1; m, v) / (N(+1; m, v) + N(-1; m, v)) = sigmoid(2 m / v) of the Gaussian predictive; several classes one against the rest.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.classes import check_two_classes, membership
from metamedica.functional.mixture import matched_normal
from metamedica.types import LabelledBatch, Law, TaskKind

MEAN_VARIANCE = 0.3
_FLOOR = 1e-4
_MANY = 8
"""Columns for each row of a triangular factor from which multiplying by its inverse is faster than solving."""


class Grid(NamedTuple):
    """Hyper-parameter cells: `weights` `[cells, kernels]` (rows sum to 1) and `noise` `[cells]` in (0, 1)."""

    weights: Float[Tensor, "cells kernels"]
    noise: Float[Tensor, " cells"]


class Posterior(NamedTuple):
    """What conditioning on the support gives, per task and cell."""

    cholesky: Float[Tensor, "tasks cells n n"]
    whitened: Float[Tensor, "tasks cells n outputs"]
    log_weight: Float[Tensor, "tasks cells"]


def signed_targets(support: LabelledBatch, dtype: torch.dtype) -> Float[Tensor, "tasks n outputs"]:
    """Return regression targets as they are, classes as +1 / -1 (one output for binary, one per class otherwise); 0 where padded.

    Raises:
        TaskError: a task with classes whose support has one class only.
    """
    mask = support.mask
    if support.kind == "regression":
        values = support.targets[..., None]
    else:
        members = membership(support, dtype)
        check_two_classes(members)
        values = members * 2 - 1
        values = values[..., 1:] if support.kind == "binary" else values
    return values.masked_fill(~mask[..., None], 0)


def condition_on_covariance(
    covariance: Float[Tensor, "tasks cells n n"],
    targets: Float[Tensor, "tasks n outputs"],
    mask: Bool[Tensor, "tasks n"],
    log_prior: Float[Tensor, " cells"],
    *,
    mean: Float[Tensor, "tasks cells n"] | None = None,
) -> Posterior:
    """Return the posterior of each task in every cell, given what the targets' covariance is there (noise included).

    Padded cases become independent unit-variance zeros and change nothing. Differentiable in covariance and targets.

    Args:
        covariance: of the targets; not read where padded.
        targets: 0 where padded.
        mask: real cases.
        log_prior: of the cells; zero for one cell.
        mean: of the targets of one output before anything is known; 0 where left out. Predictive means are then those of
            `predict_from_covariance` plus the query cases' own.
    """
    both = (mask[:, :, None] & mask[:, None, :])[:, None]
    eye = torch.eye(mask.shape[1], dtype=covariance.dtype, device=covariance.device)
    cholesky = torch.linalg.cholesky(torch.where(both, covariance, eye))
    left = targets[:, None].expand(-1, len(log_prior), -1, -1)
    if mean is not None:
        left = left - mean.masked_fill(~mask[:, None], 0)[..., None]
    whitened = torch.linalg.solve_triangular(cholesky, left, upper=False)
    return Posterior(cholesky, whitened, torch.log_softmax(_log_evidence(cholesky, whitened) + log_prior, dim=-1))


def _log_evidence(
    cholesky: Float[Tensor, "tasks cells n n"], whitened: Float[Tensor, "tasks cells n outputs"]
) -> Float[Tensor, "tasks cells"]:
    """Return the log marginal likelihood up to a constant per task, summed over outputs."""
    half_log_det = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (whitened**2).sum((-1, -2)) - whitened.shape[-1] * half_log_det


def log_marginal_likelihood(posterior: Posterior, mask: Bool[Tensor, "tasks n"]) -> Float[Tensor, "tasks cells"]:
    """Return the log marginal likelihood of each task's targets, summed over outputs (Rasmussen & Williams eq. 2.30)."""
    numbers = posterior.whitened.shape[-1] * mask.sum(1).to(posterior.whitened.dtype)
    return _log_evidence(posterior.cholesky, posterior.whitened) - 0.5 * math.log(2 * math.pi) * numbers[:, None]


def condition(
    kernels: Float[Tensor, "tasks kernels n n"],
    targets: Float[Tensor, "tasks n outputs"],
    mask: Bool[Tensor, "tasks n"],
    grid: Grid,
    log_prior: Float[Tensor, " cells"],
) -> Posterior:
    """Return the posterior of each task in every cell. Padded cases become independent unit-variance zeros and change nothing."""
    eye = torch.eye(mask.shape[1], dtype=kernels.dtype, device=kernels.device)
    signal = torch.einsum("gc,tcij->tgij", grid.weights * (1 - grid.noise)[:, None], kernels) + MEAN_VARIANCE
    return condition_on_covariance(signal + grid.noise[:, None, None] * eye, targets, mask, log_prior)


def predictive(
    posterior: Posterior,
    cross: Float[Tensor, "tasks kernels m n"],
    diagonal: Float[Tensor, "tasks kernels m"],
    mask: Bool[Tensor, "tasks n"],
    grid: Grid,
) -> tuple[Float[Tensor, "tasks cells m outputs"], Float[Tensor, "tasks cells m"]]:
    """Return mean and variance (noise included) of each query target in every cell (Rasmussen & Williams eq. 2.25, 2.26)."""
    share = grid.weights * (1 - grid.noise)[:, None]
    # The kernel of the task's mean, b 1 1^T, joins the others before the mask: kernels are far fewer than cells.
    constant = torch.ones_like(cross[:, :1])
    terms = torch.cat([cross, constant], dim=1).masked_fill(~mask[:, None, None, :], 0)
    weights = torch.cat([share, torch.full_like(share[:, :1], MEAN_VARIANCE)], dim=1)
    covariance = torch.einsum("gc,tcmn->tgmn", weights, terms)
    prior = torch.einsum("gc,tcm->tgm", share, diagonal) + MEAN_VARIANCE + grid.noise[:, None]
    return predict_from_covariance(posterior, covariance, prior)


def predict_from_covariance(
    posterior: Posterior, cross: Float[Tensor, "tasks cells m n"], prior: Float[Tensor, "tasks cells m"]
) -> tuple[Float[Tensor, "tasks cells m outputs"], Float[Tensor, "tasks cells m"]]:
    """Return mean and variance of each query target in every cell (Rasmussen & Williams eq. 2.25, 2.26).

    Args:
        posterior: of the support.
        cross: covariance of query and support targets; 0 where the support is padded.
        prior: variance of a query target, noise included.
    """
    half = _whitened(posterior.cholesky, cross.mT)
    return half.mT @ posterior.whitened, (prior - (half**2).sum(-2)).clamp(min=_FLOOR)


def _whitened(factor: Float[Tensor, "*batch n n"], columns: Float[Tensor, "*batch n m"]) -> Float[Tensor, "*batch n m"]:
    """Return factor^-1 columns for a lower triangular factor; many columns are multiplied by the inverse, a seventh of the time."""
    n, m = columns.shape[-2:]
    few = m < _MANY * n
    right = columns if few else torch.eye(n, dtype=factor.dtype, device=factor.device).expand_as(factor)
    solved: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
    return solved if few else solved @ columns


def hidden_moments(
    posterior: Posterior, targets: Float[Tensor, "tasks n outputs"]
) -> tuple[Float[Tensor, "tasks cells n outputs"], Float[Tensor, "tasks cells n"]]:
    """Return mean and variance of each support target in every cell when it is hidden (Rasmussen & Williams eq. 5.12)."""
    diagonal = torch.cholesky_inverse(posterior.cholesky).diagonal(dim1=-2, dim2=-1)
    surprise = torch.linalg.solve_triangular(posterior.cholesky.mT, posterior.whitened, upper=True)
    return targets[:, None] - surprise / diagonal[..., None], 1 / diagonal


def leave_one_out(
    posterior: Posterior, targets: Float[Tensor, "tasks n outputs"], support: LabelledBatch
) -> Float[Tensor, "tasks n"]:
    """Return the log-likelihood of each support case when it is hidden (Rasmussen & Williams eq. 5.10 to 5.12), averaged over cells.

    The weight of a cell without case i is its posterior weight divided by its density of case i, so the average is exact too.
    """
    tasks, cells, n, _ = posterior.whitened.shape
    mean, variance = hidden_moments(posterior, targets)
    given = targets[:, None]
    hidden: Law = Normal(mean, variance.sqrt()[..., None], validate_args=False)
    density = hidden.log_prob(given).sum(-1)
    log_weight = torch.log_softmax(posterior.log_weight[:, :, None] - density, dim=1)

    def each(value: Tensor) -> Tensor:
        """Cases as tasks: `[tasks, cells, n, ...]` -> `[tasks * n, cells, ...]`."""
        return value.transpose(1, 2).reshape(tasks * n, cells, *value.shape[3:])

    law = average_law(each(mean)[:, :, None], each(variance)[:, :, None], each(log_weight), support.kind)
    return law.log_prob(support.targets.reshape(-1, 1)).reshape(tasks, n)


def average_law(
    mean: Float[Tensor, "tasks cells m outputs"],
    variance: Float[Tensor, "tasks cells m"],
    log_weight: Float[Tensor, "tasks cells"],
    kind: TaskKind,
) -> Law:
    """Return the law averaged over cells: class probabilities are averaged; Normals are matched in mean and variance."""
    weight = log_weight.exp()[:, :, None]
    if kind == "regression":
        return matched_normal(mean[..., 0], variance, weight, dim=1)
    log_odds = 2 * mean / variance[..., None]
    if kind == "binary":
        log_odds = torch.cat([torch.zeros_like(log_odds), log_odds], dim=-1)
    log_probability = torch.log_softmax(log_odds, dim=-1) + log_weight[:, :, None, None]
    return Categorical(logits=torch.logsumexp(log_probability, dim=1), validate_args=False)


def cell_log_likelihood(
    mean: Float[Tensor, "tasks cells m outputs"], variance: Float[Tensor, "tasks cells m"], query: LabelledBatch
) -> Float[Tensor, "tasks cells"]:
    """Return the mean log-likelihood of each task's query targets in every cell."""
    cells = []
    for cell in range(mean.shape[1]):
        one = torch.zeros_like(mean[:, :1, 0, 0])
        cells.append(
            query.log_likelihood(average_law(mean[:, cell : cell + 1], variance[:, cell : cell + 1], one, query.kind))
        )
    return torch.stack(cells, dim=1)


def fit_cell_prior(
    evidence: Float[Tensor, "tasks cells"],
    query_log_likelihood: Float[Tensor, "tasks cells"],
    start: Float[Tensor, " cells"],
    *,
    strength: float = 0.02,
    steps: int = 300,
) -> Float[Tensor, " cells"]:
    """Return the log prior over cells that maximises the query likelihood averaged over tasks (empirical Bayes).

    A task's posterior over cells is softmax(log prior + evidence); the objective is the posterior mean of the query
    log-likelihood, which by Jensen's inequality is a lower bound of the averaged law's. The prior is pulled to `start` by
    `strength` times the squared difference of the logits, which keeps every cell possible.

    Args:
        evidence: log evidence of the support per task and cell, up to a constant per task.
        query_log_likelihood: mean per query case, per task and cell.
        start: log prior to start from and to be pulled to.
        strength: of the pull.
        steps: of Adam in double precision.
    """
    logits = start.double().clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.05)
    with torch.enable_grad():
        for _ in range(steps):
            posterior = torch.softmax(logits + evidence.double(), dim=-1)
            gain = (posterior * query_log_likelihood.double()).sum(-1).mean()
            loss = -gain + strength * ((logits - start.double()) ** 2).mean()
            (slope,) = torch.autograd.grad(loss, [logits])
            logits.grad = slope
            optimiser.step()
    return torch.log_softmax(logits.detach(), dim=-1).to(start.dtype)
