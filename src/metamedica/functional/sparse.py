"""Rows that are mostly zero, such as fingerprints: only the entries that are there cost time, in products and in their gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional
from torch.overrides import has_torch_function

from metamedica.blocks import Block, rows_of_table

MOST_FILLED = 0.1
"""Above this share of entries that are not zero the dense product is as fast."""
FEWEST_ROWS = 128
"""Below, the dense product costs less than finding the entries."""
FEWEST_COLUMNS = 256
"""Likewise."""
_GLANCE = 8
_ROWS_AT_ONCE = 8192
_GRAM_AT_ONCE = 1 << 18
"""Numbers that a Gram matrix lays out at once: what stays in a core's cache."""


@dataclass(frozen=True)
class Entries:
    """Rows `[*batch, size]` by their entries that are not zero, in order of the rows and again in order of the columns.

    Args:
        shape: of the rows.
        values: `[entries]`, row after row; what stands after the last row's end is 0 and not read.
        columns: `[entries]`, where each stands in its row.
        row_bounds: `[rows + 1]`, where the entries of each row begin, and where the last row's end.
        column_values: `[entries]`, column after column.
        rows: `[entries]`, the row of each, in that order.
        column_bounds: `[size + 1]`, where the entries of each column begin, and where the last column's end.
    """

    shape: torch.Size
    values: Float[Tensor, " entries"]
    columns: Int[Tensor, " entries"]
    row_bounds: Int[Tensor, " row_ends"]
    column_values: Float[Tensor, " entries"]
    rows: Int[Tensor, " entries"]
    column_bounds: Int[Tensor, " column_ends"]

    def map(self, entry: Callable[[Tensor], Tensor]) -> "Entries":
        """Return the rows with every entry changed; `entry` must leave 0 at 0."""
        return replace(self, values=entry(self.values), column_values=entry(self.column_values))

    def times(self, table: Float[Tensor, "size width"]) -> Float[Tensor, "*batch width"]:
        """Return the rows times a table, differentiable in the table to any order."""
        own = (self.columns, self.row_bounds, self.values, self.rows, self.column_bounds, self.column_values)
        out: Tensor = _Product.apply(table, *own)  # type: ignore[no-untyped-call]
        return out.reshape(*self.shape[:-1], table.shape[-1])

    def transposed(self, slope: Float[Tensor, "rows width"]) -> Float[Tensor, "size width"]:
        """Return the transposed rows times a table, differentiable in the table to any order."""
        own = (self.rows, self.column_bounds, self.column_values, self.columns, self.row_bounds, self.values)
        out: Tensor = _Product.apply(slope, *own)  # type: ignore[no-untyped-call]
        return out

    def dense(self) -> Float[Tensor, "*batch size"]:
        """Return the rows laid out."""
        n, size = self.shape[:-1].numel(), self.shape[-1]
        own = (self.values.numpy(), self.columns.numpy(), self.row_bounds.numpy())
        return torch.from_numpy(csr_array(own, shape=(n, size)).toarray()).reshape(self.shape)


Piece: TypeAlias = Tensor | Entries
"""Some columns of a block of rows, `[*batch, size]`, laid out or by its entries."""


class _Product(torch.autograd.Function):
    """Sparse rows times a table; the gradient is the transposed rows times the slope."""

    @staticmethod
    def forward(
        table: Tensor, columns: Tensor, bounds: Tensor, values: Tensor, rows: Tensor, ends: Tensor, turned: Tensor
    ) -> Tensor:
        if table.dtype == torch.float32:
            return functional.embedding_bag(
                columns, table.contiguous(), bounds, mode="sum", per_sample_weights=values, include_last_offset=True
            )
        # Other types read what stands after the last bound too: zeros, which here count for the last row.
        return functional.embedding_bag(columns, table.contiguous(), bounds[:-1], mode="sum", per_sample_weights=values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        columns, bounds, values, rows, ends, turned = ctx.saved_tensors
        below: Tensor = _Product.apply(slope, rows, ends, turned, columns, bounds, values)  # type: ignore[no-untyped-call]
        return below, None, None, None, None, None, None


def entries_of(block: Block) -> Entries | None:
    """Return the entries of rows that are mostly zero; None for a tensor where they would not pay or that is no plain numbers.

    At 2.5 % filled, 1,024 rows of 2,048 columns and 256 outputs, a product and its gradient take a fifth of the dense product's time
    (`make bench-engine`). On a GPU dense products are faster. To find the entries in a tensor costs as much as the product;
    rows of a table have theirs, and are the only ones that a traced graph knows.
    """
    known = rows_of_table(block)
    if known is not None:
        table, index = known.table, known.index.reshape(-1)
        if torch.compiler.is_compiling():
            room = len(index) * table.longest
            return Entries(
                known.shape, *_entries_in_a_graph(index, table.values, table.columns, table.bounds, table.size, room)
            )
        return Entries(known.shape, *_both_orders(table.rows[index.numpy()]))
    size, n = block.shape[-1], block.shape[:-1].numel()
    if size < FEWEST_COLUMNS or n < FEWEST_ROWS or block.device.type != "cpu" or block.requires_grad:
        return None
    if torch.compiler.is_compiling() or has_torch_function((block,)):
        return None
    if torch._C._functorch.is_functorch_wrapped_tensor(block):  # mapped over
        return None
    numbers = block.reshape(n, size).numpy()
    glance = numbers[:: max(1, n // _GLANCE)]
    if np.count_nonzero(glance) > 2 * MOST_FILLED * glance.size:
        return None
    there = np.flatnonzero(numbers != 0)  # torch's own nonzero takes three times as long
    if len(there) > MOST_FILLED * numbers.size:
        return None
    return Entries(block.shape, *_both_orders(_of_places(numbers, there)))


def is_mostly_zero(block: Shaped[Tensor, "rows size"]) -> bool:
    """Return whether a block has many columns, few of them filled."""
    size = block.shape[1]
    return size >= FEWEST_COLUMNS and all(
        int(torch.count_nonzero(rows)) <= MOST_FILLED * rows.numel() for rows in torch.split(block, _ROWS_AT_ONCE)
    )


def _of_places(numbers: NDArray[Any], there: NDArray[np.int64]) -> csr_array:
    """Return rows, given the flat places of the numbers that are not zero."""
    n, size = numbers.shape
    bounds = np.searchsorted(there, np.arange(n + 1) * size)
    columns = there - np.repeat(np.arange(n) * size, np.diff(bounds))
    values = numbers.reshape(-1)[there]
    return csr_array((values, columns.astype(np.int32), bounds.astype(np.int32)), shape=numbers.shape)


def _both_orders(rows: csr_array) -> list[Tensor]:
    """Return the tensors of `Entries`."""
    turned = rows.tocsc()
    both = (rows.data, rows.indices, rows.indptr, turned.data, turned.indices, turned.indptr)
    return [torch.from_numpy(each) for each in both]


@torch.library.custom_op("metamedica::entries_of_rows", mutates_args=())
def _entries_in_a_graph(
    index: Tensor, values: Tensor, columns: Tensor, bounds: Tensor, size: int, room: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the entries of rows of a table, for a graph whose tensors have fixed sizes: with room for so many entries."""
    table = csr_array((values.numpy(), columns.numpy(), bounds.numpy()), shape=(len(bounds) - 1, size))
    found = _both_orders(table[index.numpy()])

    def longer(value: Tensor) -> Tensor:
        return functional.pad(value, (0, room - len(value)))

    return longer(found[0]), longer(found[1]), found[2], longer(found[3]), longer(found[4]), found[5]


@_entries_in_a_graph.register_fake
def _(
    index: Tensor, values: Tensor, columns: Tensor, bounds: Tensor, size: int, room: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    def whole(n: int) -> Tensor:
        return bounds.new_empty(n)

    value = values.new_empty(room)
    return value, whole(room), whole(len(index) + 1), torch.empty_like(value), whole(room), whole(size + 1)


def affine(
    pieces: Sequence[Piece], table: Float[Tensor, "flat width"], bias: Float[Tensor, " width"]
) -> Float[Tensor, "*batch width"]:
    """Return rows, given as pieces side by side, times a table, plus a bias."""
    if len(pieces) == 1:
        (only,) = pieces
        return only.times(table) + bias if isinstance(only, Entries) else functional.linear(only, table.mT, bias)
    parts = torch.split(table, [piece.shape[-1] for piece in pieces])
    products = [
        piece.times(part) if isinstance(piece, Entries) else piece @ part
        for piece, part in zip(pieces, parts, strict=True)
    ]
    return reduce(torch.add, products, bias)


def transposed(pieces: Sequence[Piece], slope: Float[Tensor, "*batch width"]) -> Float[Tensor, "flat width"]:
    """Return the transposed rows, given as pieces side by side, times a slope of each row: the gradient of `affine` in its table."""
    flat = slope.reshape(-1, slope.shape[-1])
    parts = [
        piece.transposed(flat) if isinstance(piece, Entries) else piece.reshape(-1, piece.shape[-1]).mT @ flat
        for piece in pieces
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def gram(left: Sequence[Piece], right: Sequence[Piece]) -> Float[Tensor, "tasks m n"]:
    """Return the inner products between the rows of each task, given as the same pieces on both sides."""
    kernels = []
    for one, other in zip(left, right, strict=True):
        if isinstance(one, Entries) and isinstance(other, Entries):
            product = _gram_in_a_graph if torch.compiler.is_compiling() else _gram
            kernels.append(
                product(*_task_sizes(one, other), one.values, one.columns, one.row_bounds, *_in_row_order(other))
            )
        else:
            kernels.append(_dense(one) @ _dense(other).mT)
    return reduce(torch.add, kernels)


def _task_sizes(left: Entries, right: Entries) -> tuple[list[int], int]:
    """Return tasks, rows of a task on the left and on the right; and columns."""
    return [left.shape[0], left.shape[1], right.shape[1]], left.shape[2]


def _in_row_order(entries: Entries) -> tuple[Tensor, Tensor, Tensor]:
    return entries.values, entries.columns, entries.row_bounds


def _gram(
    sizes: Sequence[int], width: int, values: Tensor, columns: Tensor, bounds: Tensor, *right: Tensor
) -> Float[Tensor, "tasks m n"]:
    """Return the inner products of entries: the right rows are laid out column by column, and the left entries look their columns up."""
    tasks, m, n = sizes
    out = values.new_empty(tasks, m, n)
    step = max(1, min(tasks, _GRAM_AT_ONCE // (width * n)))
    other_values, other_columns, other_bounds = (each.numpy() for each in right)
    rows = np.arange(tasks * n)
    counts = np.diff(other_bounds)
    places = np.repeat(rows // n % step * (width * n) + rows % n, counts)
    places += other_columns[: len(places)].astype(np.int64) * n
    rows = np.arange(tasks * m, dtype=np.int32)
    shifts = torch.from_numpy(np.repeat(rows // m % step * width, np.diff(bounds.numpy())))
    looked_up = columns[: len(shifts)] + shifts
    table = np.zeros(step * width * n, dtype=other_values.dtype)
    by_column = torch.from_numpy(table).reshape(step * width, n)
    for first in range(0, tasks, step):
        several = min(step, tasks - first)
        a, b = (other_bounds[row * n] for row in (first, first + several))
        table[places[a:b]] = other_values[a:b]
        ends = bounds[first * m : (first + several) * m + 1]
        c, d = int(ends[0]), int(ends[-1])
        product = functional.embedding_bag(
            looked_up[c:d], by_column, (ends - c)[:-1], mode="sum", per_sample_weights=values[c:d]
        )
        out[first : first + several] = product.reshape(several, m, n)
        table[places[a:b]] = 0
    return out


@torch.library.custom_op("metamedica::gram", mutates_args=())
def _gram_in_a_graph(
    sizes: Sequence[int],
    width: int,
    values: Tensor,
    columns: Tensor,
    bounds: Tensor,
    other_values: Tensor,
    other_columns: Tensor,
    other_bounds: Tensor,
) -> Tensor:
    return _gram(sizes, width, values, columns, bounds, other_values, other_columns, other_bounds)


@_gram_in_a_graph.register_fake
def _(sizes: Sequence[int], width: int, values: Tensor, *rest: Tensor) -> Tensor:
    return values.new_empty(*sizes)


def _dense(piece: Piece) -> Float[Tensor, "*batch size"]:
    return piece.dense() if isinstance(piece, Entries) else piece


def laid_out(pieces: Sequence[Piece]) -> Float[Tensor, "*batch flat"]:
    """Return the pieces side by side, dense."""
    dense = [_dense(piece) for piece in pieces]
    return dense[0] if len(dense) == 1 else torch.cat(dense, dim=-1)
