"""Kernels between rows of case vectors, over any leading axes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

MOST_LEVELS = 255
ROWS_AT_ONCE = 128
FEW_PAIRS = 1024
"""Up to here the plain distance costs less than the overhead of the levels."""


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
    if has_torch_function((left, right)):  # whoever traces has this kernel as one operator: inside it looks at values
        found: Tensor = handle_torch_function(minmax_kernel, (left, right), left, right)
        return found
    if torch.is_grad_enabled() and (left.requires_grad or right.requires_grad):
        total = _total(left, right)
        return _ratio((total - torch.cdist(left, right, p=1.0)) / 2, total)
    return _ratio(_shared(*_used(left, right)), _total(left, right))


def minmax_and_tanimoto(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> tuple[Float[Tensor, "*batch n m"], Float[Tensor, "*batch n m"]]:
    """Return `minmax_kernel` of the counts and of their presence (1 where a count is above 0), in little more than the time of one.

    Args:
        left: non-negative rows; not checked. No gradient flows.
        right: non-negative rows, with the leading axes of `left`.
    """
    if has_torch_function((left, right)):
        both: tuple[Tensor, Tensor] = handle_torch_function(minmax_and_tanimoto, (left, right), left, right)
        return both
    with torch.no_grad():
        some, others, highest = _used(left, right)
        present = _used_by_row(left)[..., :, None] + _used_by_row(right)[..., None, :]
        of_counts = _ratio(_shared(some, others, highest), _total(left, right))
        return of_counts, _ratio(some.sign() @ others.sign().mT, present)


def rbf_kernel(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"], *, length: float = 1.0
) -> Float[Tensor, "*batch n m"]:
    """Return `exp(-|x - y|^2 / (2 length^2 dim))`: the squared exponential kernel with its length in units of root-mean-square columns.

    Args:
        left: rows.
        right: rows, with the leading axes of `left`.
        length: 1 where rows differ by about 1 in every column.
    """
    return torch.exp(-0.5 * squares_between(left, right) / (length**2 * left.shape[-1]))


def matern_kernel(squares: Float[Tensor, "*batch n m"]) -> Float[Tensor, "*batch n m"]:
    """Return `(1 + u + u^2 / 3) exp(-u)`, `u = sqrt(5 squares)`: the Matern kernel of smoothness 5/2 (Rasmussen & Williams 2006, eq. 4.17).

    Args:
        squares: squared distances in units of the length.
    """
    ratio = (5 * squares + torch.finfo(squares.dtype).tiny).sqrt()  # the root's slope at 0 is not finite
    return (1 + ratio + ratio**2 / 3) * torch.exp(-ratio)


def squares_between(
    left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
) -> Float[Tensor, "*batch n m"]:
    """Return the squared Euclidean distance of every pair of rows, by way of inner products: little memory, never below 0."""
    squares = (left**2).sum(-1)[..., :, None] + (right**2).sum(-1)[..., None, :] - 2 * left @ right.mT
    return squares.clamp(min=0)


def _total(left: Tensor, right: Tensor) -> Tensor:
    return left.sum(-1)[..., :, None] + right.sum(-1)[..., None, :]


def _used_by_row(rows: Tensor) -> Tensor:
    """Return how many entries of each row are above 0; a few rows at a time stay in the processor's cache."""
    parts = torch.split(rows.reshape(-1, rows.shape[-1]), ROWS_AT_ONCE)
    return torch.cat([part.sign().sum(-1) for part in parts]).reshape(rows.shape[:-1])


def _ratio(shared: Tensor, total: Tensor) -> Tensor:
    largest = total - shared
    empty = largest == 0
    return torch.where(empty, 1.0, shared / torch.where(empty, 1.0, largest))


def _used(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both sides in the columns that the side with fewer rows uses, and the highest entry there, highest first.

    Other columns can share nothing: of 2,048, sixteen molecules use some 300.
    """
    fewer = left if left.shape[-2] <= right.shape[-2] else right
    if fewer.numel() == 0:
        return left[..., :0], right[..., :0], left.new_zeros(0)
    highest = fewer.flatten(0, -2).amax(0)
    order = highest.argsort(descending=True, stable=True)[: int(highest.count_nonzero())]
    return _columns(left, order), _columns(right, order), highest[order]


def _shared(left: Tensor, right: Tensor, highest: Tensor) -> Tensor:
    """Return `sum_i min(a_i, b_i)` for every pair.

    With `d` the city-block distance it is `(|a| + |b| - d) / 2`. For whole numbers it is also the number of levels `t`
    that both reach, `sum_t sum_i [a_i >= t] [b_i >= t]`: matrix products, exact and some fifty times faster.

    Args:
        left: rows.
        right: rows.
        highest: `[columns]`, the highest entry of the side with fewer rows, in descending order.
    """
    pairs = left.shape[:-1].numel() * right.shape[-2]
    if pairs <= FEW_PAIRS or not (_few_levels(left) and _few_levels(right)):
        return (_total(left, right) - torch.cdist(left, right, p=1.0)) / 2
    shared = left.new_zeros(*left.shape[:-1], right.shape[-2])
    reached = torch.bincount(highest.long()).flip(0).cumsum(0).flip(0)[1:]  # columns that reach level 1, 2, ...
    for level, columns in enumerate(reached.tolist(), start=1):
        shared += _reaching(left[..., :columns], level) @ _reaching(right[..., :columns], level).mT
    return shared


def _reaching(rows: Tensor, level: int) -> Tensor:
    """Return 1 where an entry is at least `level` and 0 elsewhere, four times as fast as by way of truth values."""
    return torch.ge(rows, level, out=torch.empty_like(rows, memory_format=torch.contiguous_format))


def _columns(rows: Tensor, which: Tensor) -> Tensor:
    """Return some columns; on a matrix this is several times faster than on a stack of one."""
    if rows.is_contiguous():
        return rows.view(-1, rows.shape[-1]).index_select(1, which).view(*rows.shape[:-1], len(which))
    return rows.index_select(-1, which)


def _few_levels(rows: Tensor) -> bool:
    return rows.numel() == 0 or (bool(rows.amax() <= MOST_LEVELS) and not bool(rows.frac().any()))
