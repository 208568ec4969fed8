"""Kernels between rows of case vectors, over any leading axes."""

import torch
from jaxtyping import Float
from torch import Tensor

MOST_LEVELS = 255


def minmax_kernel(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """Return the MinMax kernel (count Tanimoto) between rows of non-negative counts.

    `k(a, b) = sum_i min(a_i, b_i) / sum_i max(a_i, b_i)`, in [0, 1], 1 on the diagonal and positive semi-definite
    (Ralaivola, Swamidass, Saigo, Baldi 2005, Graph kernels for chemical informatics, Neural Networks 18, 1093). On 0/1
    rows it is the Tanimoto kernel. Two rows without any count are alike (1); a row without any count and one with some
    share nothing (0). Beyond the answer, memory is needed for copies of `left` and `right` only.

    Args:
        left: non-negative rows; not checked.
        right: non-negative rows, with the leading axes of `left`.
    """
    total = left.sum(-1)[..., :, None] + right.sum(-1)[..., None, :]
    shared = _shared(left, right, total)
    largest = total - shared
    empty = largest == 0
    return torch.where(empty, 1.0, shared / torch.where(empty, 1.0, largest))


def _shared(left: Tensor, right: Tensor, total: Tensor) -> Tensor:
    """Return `sum_i min(a_i, b_i)` for every pair.

    With `d` the city-block distance it is `(|a| + |b| - d) / 2`. For whole numbers it is also the number of levels `t`
    that both reach, `sum_t sum_i [a_i >= t] [b_i >= t]`: matrix products, exact and some fifty times faster.
    """
    differentiable = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    if differentiable or not (_few_levels(left) and _few_levels(right)):
        return (total - torch.cdist(left, right, p=1.0)) / 2
    reach = torch.minimum(_highest(left), _highest(right))
    order = reach.argsort(descending=True, stable=True)
    levels = torch.bincount(reach.long()).flip(0).cumsum(0).flip(0)[1:].tolist()  # columns that reach level 1, 2, ...
    most = levels[0] if levels else 0
    left, right = left[..., order[:most]], right[..., order[:most]]
    shared = torch.zeros_like(total)
    for level, columns in enumerate(levels, start=1):
        shared += (left[..., :columns] >= level).to(shared) @ (right[..., :columns] >= level).to(shared).mT
    return shared


def _few_levels(rows: Tensor) -> bool:
    return rows.numel() > 0 and bool(rows.amax() <= MOST_LEVELS) and not bool(rows.frac().any())


def _highest(rows: Tensor) -> Float[Tensor, " dim"]:
    """Return the largest number of each column."""
    return rows.flatten(0, -2).amax(0)
