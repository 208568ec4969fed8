"""Kernels between rows of case vectors, over any leading axes."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

MOST_LEVELS = 255
FEW_PAIRS = 1024
"""Up to here the plain distance costs less than the overhead of the levels."""
_ROWS_AT_ONCE = 128
_WIDE = 64
"""Levels that fewer columns reach are not worth a product each."""
_BYTES_ARE_FAST = (
    hasattr(torch, "_int_mm")
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
)
"""Whether products of bytes take a quarter of the time of products in floating point, with the same whole numbers."""
_LEAST_COLUMNS = 16
"""Of such a product; that of one column is wrong in torch 2.13, whose strides do not tell which way round it lies."""


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
    return _ratio(_in_common(left, right, left.dtype)[1], _total(left, right))


def minmax_and_tanimoto(
    left: Shaped[Tensor, "*batch n dim"], right: Shaped[Tensor, "*batch m dim"]
) -> tuple[Float[Tensor, "*batch n m"], Float[Tensor, "*batch n m"]]:
    """Return `minmax_kernel` of the counts and of their presence (1 where a count is above 0), in little more than the time of one.

    Bytes, as featurised counts come, are compared as they are, in about half the time of floating point.

    Args:
        left: non-negative rows, floating point or bytes (uint8); not checked. No gradient flows.
        right: such rows, with the leading axes of `left`.
    """
    if has_torch_function((left, right)):
        found: tuple[Tensor, Tensor] = handle_torch_function(minmax_and_tanimoto, (left, right), left, right)
        return found
    with torch.no_grad():
        dtype = left.dtype if left.is_floating_point() else right.dtype
        dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
        own = _sums(left, dtype)
        others = own if right is left else _sums(right, dtype)
        total, used = (one[..., :, None] + other[..., None, :] for one, other in zip(own, others, strict=True))
        both, shared = _in_common(left, right, dtype)
        return _ratio(shared, total), _ratio(both, used)


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


class _Sums(NamedTuple):
    """Of each row: the sum of its entries, and how many are above 0."""

    total: Tensor
    used: Tensor


def _sums(rows: Tensor, dtype: torch.dtype) -> _Sums:
    flat = rows.reshape(-1, rows.shape[-1])
    if _are_bytes(rows):
        numbers = flat.numpy()  # sums of bytes take torch several times as long
        fits = int(numbers.max(initial=0)) * numbers.shape[-1] < 2**16  # half the time
        total = torch.from_numpy(numbers.sum(-1, dtype=np.uint16 if fits else np.int32).astype(np.int32)).to(dtype)
        used = torch.from_numpy(np.bitwise_count(np.packbits(numbers, axis=-1)).sum(-1, dtype=np.int32)).to(dtype)
    else:
        parts = torch.split(flat.to(dtype), _ROWS_AT_ONCE)  # a few rows at a time stay in the processor's cache
        total = torch.cat([part.sum(-1) for part in parts])
        used = torch.cat([part.sign().sum(-1) for part in parts])
    return _Sums(total.reshape(rows.shape[:-1]), used.reshape(rows.shape[:-1]))


def _are_bytes(rows: Tensor) -> bool:
    """Return whether NumPy, which is faster with bytes, can read the rows."""
    return rows.dtype == torch.uint8 and rows.device.type == "cpu"


def _ratio(shared: Tensor, total: Tensor) -> Tensor:
    largest = total - shared
    empty = largest == 0  # counted as one that is shared
    return (shared + empty) / (largest + empty)


def _used(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both sides in the columns that the side with fewer rows uses, and the highest entry there, highest first.

    Other columns can share nothing: of 2,048, sixteen molecules use some 300.
    """
    fewer = left if left.shape[-2] <= right.shape[-2] else right
    if fewer.numel() == 0:
        return left[..., :0], right[..., :0], left.new_zeros(0)
    highest = fewer.flatten(0, -2).amax(0)
    if _are_bytes(highest):
        falling = torch.from_numpy(np.argsort(~highest.numpy(), kind="stable"))
    else:
        falling = highest.argsort(descending=True, stable=True)
    order = falling[: int(highest.count_nonzero())]
    return _columns(left, order), _columns(right, order), highest[order]


def _in_common(left: Tensor, right: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return, for every pair of rows, how many columns both use, and `sum_i min(a_i, b_i)`.

    With `d` the city-block distance the second is `(|a| + |b| - d) / 2`. For whole numbers it is also the number of levels `t`
    that both reach, `sum_t sum_i [a_i >= t] [b_i >= t]`: matrix products, exact and some fifty times faster; level 1 is the first.
    """
    left, right, highest = _used(left, right)
    many = left.shape[:-1].numel() * right.shape[-2] > FEW_PAIRS
    if many and _few_levels(left) and _few_levels(right):
        return _by_levels(left, right, highest, dtype)
    left, right = left.to(dtype), right.to(dtype)
    return left.sign() @ right.sign().mT, (_total(left, right) - torch.cdist(left, right, p=1.0)) / 2


def _by_levels(left: Tensor, right: Tensor, highest: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return what `_in_common` does for whole numbers, given the highest of each column in descending order."""
    reached = torch.bincount(highest.long()).flip(0).cumsum(0).flip(0)[1:]  # columns that reach level 1, 2, ...
    if len(reached) == 0:
        none = torch.zeros(*left.shape[:-1], right.shape[-2], dtype=dtype, device=left.device)
        return none, none

    matrices = _BYTES_ARE_FAST and _are_bytes(left) and left.shape[:-2].numel() == right.shape[:-2].numel() == 1

    def both_reach(some: Tensor, others: Tensor, level: int | Tensor) -> Tensor:
        if matrices and some.shape[-1] >= _LEAST_COLUMNS:
            one, other = (_bytes_reaching(rows, level) for rows in (some, others))
            found: Tensor = torch._int_mm(one, other.mT.contiguous())
            return found.view(*some.shape[:-1], -1)
        return _reaching(some, level, dtype) @ _reaching(others, level, dtype).mT.contiguous()

    def one_level(level: int) -> Tensor:
        columns = int(reached[level - 1])
        return both_reach(left[..., :columns], right[..., :columns], level)

    wide = max(1, int((reached >= _WIDE).sum()))
    first = one_level(1)
    shared = sum((one_level(level) for level in range(2, wide + 1)), start=first)
    if wide < len(reached):  # the columns that reach further, all levels in one product
        column = torch.cat([torch.arange(columns, device=left.device) for columns in reached[wide:].tolist()])
        level = torch.arange(wide + 1, len(reached) + 1, dtype=left.dtype, device=left.device)
        level = level.repeat_interleave(reached[wide:])
        shared = shared + both_reach(_columns(left, column), _columns(right, column), level)
    return first.to(dtype), shared.to(dtype)


def _reaching(rows: Tensor, level: int | Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where an entry is at least `level` and 0 elsewhere, four times as fast as by way of truth values."""
    return torch.ge(rows, level, out=torch.empty(rows.shape, dtype=dtype, device=rows.device))


def _bytes_reaching(rows: Tensor, level: int | Tensor) -> Tensor:
    """Return 1 where a byte is at least `level` and 0 elsewhere, as a matrix of int8; by NumPy, which compares bytes many times faster."""
    bound = level.numpy() if isinstance(level, Tensor) else np.uint8(level)
    return torch.from_numpy((rows.flatten(0, -2).numpy() >= bound).view(np.int8))


def _columns(rows: Tensor, which: Tensor) -> Tensor:
    """Return some columns; on a matrix this is several times faster than on a stack of one."""
    if not rows.is_contiguous():
        return rows.index_select(-1, which)
    flat = rows.view(-1, rows.shape[-1])
    some = (
        torch.from_numpy(np.take(flat.numpy(), which.numpy(), axis=1))
        if _are_bytes(rows)
        else flat.index_select(1, which)
    )
    return some.view(*rows.shape[:-1], len(which))


def _few_levels(rows: Tensor) -> bool:
    if rows.dtype == torch.uint8 or rows.numel() == 0:
        return True
    return bool(rows.amax() <= MOST_LEVELS) and not bool(rows.frac().any())
