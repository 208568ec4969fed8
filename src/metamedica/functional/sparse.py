"""Rows that are mostly zero, such as fingerprints: only the entries that are there cost time, in products and in their gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional
from torch.overrides import has_torch_function

MOST_FILLED = 0.1
"""Above this share of entries that are not zero the dense product is as fast."""
FEWEST_ROWS = 128
"""Below, the dense product costs less than finding the entries."""
FEWEST_COLUMNS = 256
"""Likewise."""
_GLANCE = 8


@dataclass(frozen=True)
class Entries:
    """Rows `[*batch, size]` by their entries that are not zero, in order of the rows and again in order of the columns.

    Args:
        shape: of the rows.
        values: `[entries]`, row after row.
        columns: `[entries]`, where each stands in its row.
        starts: `[rows]`, the first entry of each row.
        column_values: `[entries]`, column after column.
        rows: `[entries]`, the row of each, in that order.
        column_starts: `[size]`, the first entry of each column, in that order.
    """

    shape: tuple[int, ...]
    values: Float[Tensor, " entries"]
    columns: Int[Tensor, " entries"]
    starts: Int[Tensor, " rows"]
    column_values: Float[Tensor, " entries"]
    rows: Int[Tensor, " entries"]
    column_starts: Int[Tensor, " size"]

    @cached_property
    def row_of_entry(self) -> Int[Tensor, " entries"]:
        """The row of each entry, row after row."""
        after = torch.arange(len(self.values), dtype=torch.int32)
        return torch.searchsorted(self.starts, after, right=True) - 1

    def times(self, table: Float[Tensor, "size width"]) -> Float[Tensor, "*batch width"]:
        """Return the rows times a table, differentiable in the table to any order."""
        own = (self.columns, self.starts, self.values, self.rows, self.column_starts, self.column_values)
        out: Tensor = _Product.apply(table, *own)  # type: ignore[no-untyped-call]
        return out.reshape(*self.shape[:-1], table.shape[-1])

    def dense(self) -> Float[Tensor, "*batch size"]:
        """Return the rows laid out."""
        flat = self.values.new_zeros(len(self.starts) * self.shape[-1])
        # Entries that stand for nothing (`filled_up`) are 0 and may share a place with a real one, so places are summed up.
        flat = flat.index_add(0, self.row_of_entry * self.shape[-1] + self.columns, self.values)
        return flat.reshape(self.shape)

    def filled_up(self, entries: int) -> "Entries":
        """Return the same rows with zeros after the last entry until there are so many, so that different rows have tensors of one size."""
        more = entries - len(self.values)

        def longer(value: Tensor) -> Tensor:
            return functional.pad(value, (0, more))

        return replace(
            self,
            values=longer(self.values),
            columns=longer(self.columns),
            column_values=longer(self.column_values),
            rows=longer(self.rows),
        )


Piece: TypeAlias = Tensor | Entries
"""Some columns of a block of rows, `[*batch, size]`, laid out or by its entries."""


class _Product(torch.autograd.Function):
    """Sparse rows times a table; the gradient is the transposed rows times the slope."""

    @staticmethod
    def forward(table: Tensor, *entries: Tensor) -> Tensor:
        columns, starts, values = entries[:3]
        return functional.embedding_bag(
            columns, table.contiguous(), starts, mode="sum", per_sample_weights=values.to(table.dtype)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        return _Product.apply(slope, *saved[3:], *saved[:3]), *(None for _ in saved)  # type: ignore[no-untyped-call]


def entries_of(
    rows: Float[Tensor, "*batch size"], *, entry: Callable[[Tensor], Tensor] | None = None
) -> Entries | None:
    """Return the entries of rows that are mostly zero, or None where that would not pay or the rows are no plain numbers.

    At 2.5 % filled, 1,024 rows of 2,048 columns and 256 outputs, a product and its gradient take a fifth of the dense product's time
    (`make bench-engine`). On a GPU dense products are faster.

    Args:
        rows: the block.
        entry: applied to the entries; must leave 0 at 0.
    """
    size = rows.shape[-1]
    if size < FEWEST_COLUMNS or rows.numel() < FEWEST_ROWS * size or not _plain(rows):
        return None
    flat = rows.reshape(-1, size)
    numbers = flat.numpy()
    glance = numbers[:: max(1, len(numbers) // _GLANCE)]
    if np.count_nonzero(glance) > 2 * MOST_FILLED * glance.size:
        return None
    there = np.flatnonzero(numbers != 0)  # torch's own nonzero takes three times as long
    if len(there) > MOST_FILLED * numbers.size:
        return None
    before = np.arange(len(flat)) * size
    starts = np.searchsorted(there, before)
    columns = there - np.repeat(before, np.diff(starts, append=len(there)))
    values = flat.reshape(-1)[torch.from_numpy(there)]
    values = values if entry is None else entry(values)
    by_row = csr_array((values.numpy(), columns, np.append(starts, len(there))), shape=numbers.shape)
    by_column = by_row.tocsc()
    return Entries(
        tuple(rows.shape),
        values,
        _whole(columns),
        _whole(starts),
        torch.from_numpy(by_column.data),
        _whole(by_column.indices),
        _whole(by_column.indptr[:-1]),
    )


def _whole(numbers: NDArray[Any]) -> Int[Tensor, " n"]:
    return torch.from_numpy(numbers.astype(np.int32, copy=False))


def _plain(rows: Tensor) -> bool:
    """Return whether the numbers may be looked at: not while a graph is traced or mapped over, nor where their gradient is wanted."""
    if torch.compiler.is_compiling() or has_torch_function((rows,)) or rows.device.type != "cpu" or rows.requires_grad:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(rows)


def affine(
    pieces: Sequence[Piece], table: Float[Tensor, "flat width"], bias: Float[Tensor, " width"]
) -> Float[Tensor, "*batch width"]:
    """Return rows, given as pieces side by side, times a table, plus a bias."""
    if len(pieces) == 1 and not isinstance(pieces[0], Entries):
        return functional.linear(pieces[0], table.mT, bias)
    parts = torch.split(table, [piece.shape[-1] for piece in pieces])
    products = [
        piece.times(part) if isinstance(piece, Entries) else piece @ part
        for piece, part in zip(pieces, parts, strict=True)
    ]
    return reduce(torch.add, products, bias)


def gram(left: Sequence[Piece], right: Sequence[Piece]) -> Float[Tensor, "tasks m n"]:
    """Return the inner products between the rows of each task, given as the same pieces on both sides."""
    products = [
        _sparse_gram(one, other)
        if isinstance(one, Entries) and isinstance(other, Entries)
        else laid_out([one]) @ laid_out([other]).mT
        for one, other in zip(left, right, strict=True)
    ]
    return reduce(torch.add, products)


def laid_out(pieces: Sequence[Piece]) -> Float[Tensor, "*batch flat"]:
    """Return the pieces side by side, dense."""
    dense = [piece.dense() if isinstance(piece, Entries) else piece for piece in pieces]
    return dense[0] if len(dense) == 1 else torch.cat(dense, dim=-1)


def _sparse_gram(left: Entries, right: Entries) -> Float[Tensor, "tasks m n"]:
    own, other = (left.values, left.columns, left.starts), (right.values, right.columns, right.starts)
    found: Tensor = _gram_of_entries(*own, *other, list(left.shape), right.shape[1])
    return found


@torch.library.custom_op("metamedica::gram_of_entries", mutates_args=())
def _gram_of_entries(
    left: Tensor,
    left_columns: Tensor,
    left_starts: Tensor,
    right: Tensor,
    right_columns: Tensor,
    right_starts: Tensor,
    shape: list[int],
    n: int,
) -> Tensor:
    """One sparse product for all tasks: each has columns of its own, `[tasks * m, tasks * size] @ [tasks * size, n]`."""
    tasks, m, size = shape
    own = _with_own_columns(left, left_columns, left_starts, shape)
    other = _with_own_columns(right, right_columns, right_starts, [tasks, n, size]).tocsc()
    by_column = csr_array((other.data, other.indices % n, other.indptr), shape=(tasks * size, n))
    return torch.from_numpy((own @ by_column).toarray().reshape(tasks, m, n))


@_gram_of_entries.register_fake
def _(
    left: Tensor,
    left_columns: Tensor,
    left_starts: Tensor,
    right: Tensor,
    right_columns: Tensor,
    right_starts: Tensor,
    shape: list[int],
    n: int,
) -> Tensor:
    return left.new_empty(shape[0], shape[1], n)


def _with_own_columns(values: Tensor, columns: Tensor, starts: Tensor, shape: Sequence[int]) -> csr_array:
    tasks, n, size = shape
    ends = np.append(starts.numpy(), np.int32(len(values)))
    shift = np.repeat(np.arange(tasks, dtype=np.int64) * size, np.diff(ends[::n]))
    return csr_array((values.detach().numpy(), columns.numpy() + shift, ends), shape=(tasks * n, tasks * size))
