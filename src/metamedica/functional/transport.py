"""Entropic optimal transport between cases of a source and those of each task, by Sinkhorn's iterations on logarithms.

The plan P minimises  sum_ij P_ij |s_i - t_j|^2 + blur sum_ij P_ij (log P_ij - 1)  with the same mass on every case of a side
(Cuturi 2013, Sinkhorn distances; Peyré and Cuturi 2019, Computational optimal transport, sections 4.2 and 4.4).
"""

import torch
from jaxtyping import Float
from torch import Tensor


def usual_cost(source: Float[Tensor, "s d"]) -> Float[Tensor, ""]:
    """Return the mean squared distance between two cases; 1 where all are the same."""
    cost = 2 * (source - source.mean(0)).square().sum(-1).mean()
    return torch.where(cost > 0, cost, torch.ones_like(cost))


def transported(
    source: Float[Tensor, "s d"],
    target: Float[Tensor, "tasks n d"],
    weight: Float[Tensor, "tasks n"],
    *,
    blur: Float[Tensor, ""] | float,
    rounds: int,
) -> Float[Tensor, "tasks s d"]:
    """Return where each case of the source comes to lie: the mean of the target's cases, weighted by its row of the plan.

    That is the barycentric map of Courty et al. (2017, eq. 14). A task of no case leaves the source where it is.

    Args:
        source: cases of the source.
        target: finite where padded.
        weight: mass of each case of the target, 0 where padded.
        blur: weight of the entropy, above 0, in units of a squared distance; towards 0 the plan is the optimal assignment.
        rounds: of Sinkhorn's iterations.
    """
    blur = torch.as_tensor(blur, dtype=source.dtype, device=source.device)
    kernel = (
        -torch.cdist(
            source.expand(len(target), *source.shape), target, compute_mode="donot_use_mm_for_euclid_dist"
        ).square()
        / blur
    )
    there = weight.sum(1) > 0
    counted = torch.where(there[:, None], weight, torch.ones_like(weight))
    mass = (counted / counted.sum(1, keepdim=True)).log()
    height = torch.zeros_like(mass)
    for _ in range(rounds):
        depth = -torch.logsumexp(kernel + (height + mass)[:, None], dim=2)
        height = -torch.logsumexp(kernel + depth[..., None], dim=1)
    plan = torch.softmax(kernel + (height + mass)[:, None], dim=2)
    return torch.where(there[:, None, None], plan @ target, source)
