"""Rows that are mostly zero, such as fingerprints: only the entries that are there cost time, in products and in their gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional
from torch.overrides import has_torch_function

from metamedica.errors import InputError

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
        block: the rows as they were given, before `changes`.
        values: `[entries]`, row after row; what stands after the last row's end is not read.
        columns: `[entries]`, where each stands in its row.
        row_bounds: `[rows + 1]`, where the entries of each row begin, and where the last row's end.
        column_values: `[entries]`, column after column.
        rows: `[entries]`, the row of each, in that order.
        column_bounds: `[size + 1]`, where the entries of each column begin, and where the last column's end.
        changes: of every entry of the block, in their order; each leaves 0 at 0.
    """

    block: Float[Tensor, "*batch size"]
    values: Float[Tensor, " entries"]
    columns: Int[Tensor, " entries"]
    row_bounds: Int[Tensor, " row_ends"]
    column_values: Float[Tensor, " entries"]
    rows: Int[Tensor, " entries"]
    column_bounds: Int[Tensor, " column_ends"]
    changes: tuple[Callable[[Tensor], Tensor], ...] = ()

    @property
    def shape(self) -> torch.Size:
        """The shape of the rows."""
        return self.block.shape

    def map(self, entry: Callable[[Tensor], Tensor]) -> "Entries":
        """Return the rows with every entry changed; `entry` must leave 0 at 0."""
        return replace(
            self,
            values=entry(self.values),
            column_values=entry(self.column_values),
            changes=(*self.changes, entry),
        )

    def times(self, table: Float[Tensor, "size width"]) -> Float[Tensor, "*batch width"]:
        """Return the rows times a table, differentiable in the table to any order."""
        own = (self.columns, self.row_bounds, self.values, self.rows, self.column_bounds, self.column_values)
        out: Tensor = _Product.apply(table, *own)  # type: ignore[no-untyped-call]
        return out.reshape(*self.shape[:-1], table.shape[-1])

    def dense(self) -> Float[Tensor, "*batch size"]:
        """Return the rows laid out."""
        return reduce(lambda rows, entry: entry(rows), self.changes, self.block)


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


def entries_of(rows: Float[Tensor, "*batch size"], *, mostly_zero: bool = False) -> Entries | None:
    """Return the entries of rows that are mostly zero, or None where that would not pay or the rows are no plain numbers.

    At 2.5 % filled, 1,024 rows of 2,048 columns and 256 outputs, a product and its gradient take a fifth of the dense product's time
    (`make bench-engine`). On a GPU dense products are faster.

    Args:
        rows: the block.
        mostly_zero: whether that is known; where a graph is traced the numbers cannot be looked at, and what is not known stays dense.

    Raises:
        InputError: in a traced graph, rows that were said to be mostly zero are not.
    """
    size, n = rows.shape[-1], rows.shape[:-1].numel()
    if size < FEWEST_COLUMNS or n < FEWEST_ROWS or rows.device.type != "cpu" or rows.requires_grad:
        return None
    if torch.compiler.is_compiling():
        if not mostly_zero:
            return None
        return _of(rows, _entries_in_a_graph(rows, int(MOST_FILLED * n * size)))
    if has_torch_function((rows,)) or torch._C._functorch.is_functorch_wrapped_tensor(rows):  # traced, or mapped over
        return None
    numbers = rows.reshape(n, size).numpy()
    glance = numbers[:: max(1, n // _GLANCE)]
    if np.count_nonzero(glance) > 2 * MOST_FILLED * glance.size:
        return None
    there = np.flatnonzero(numbers != 0)  # torch's own nonzero takes three times as long
    if len(there) > MOST_FILLED * numbers.size:
        return None
    return _of(rows, [torch.from_numpy(each) for each in _both_orders(numbers, there)])


def _of(rows: Tensor, found: Sequence[Tensor]) -> Entries:
    values, columns, row_bounds, column_values, own_rows, column_bounds = found
    return Entries(rows, values, columns, row_bounds, column_values, own_rows, column_bounds)


def _both_orders(numbers: NDArray[Any], there: NDArray[np.int64]) -> Sequence[NDArray[Any]]:
    """Return the tensors of `Entries`, given the flat places of the numbers that are not zero."""
    n, size = numbers.shape
    bounds = np.searchsorted(there, np.arange(n + 1) * size)
    columns = there - np.repeat(np.arange(n) * size, np.diff(bounds))
    values = numbers.reshape(-1)[there]
    by_row = csr_array((values, columns.astype(np.int32), bounds.astype(np.int32)), shape=numbers.shape)
    by_column = by_row.tocsc()
    return values, by_row.indices, by_row.indptr, by_column.data, by_column.indices, by_column.indptr


@torch.library.custom_op("metamedica::entries_of", mutates_args=())
def _entries_in_a_graph(rows: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Likewise for a graph whose tensors have fixed sizes: with room for so many entries."""
    numbers = rows.reshape(-1, rows.shape[-1]).numpy()
    there = np.flatnonzero(numbers != 0)
    if len(there) > room:
        raise InputError(
            f"got {len(there)} entries that are not zero in a block that is mostly zero by its name, at most {room} were wanted; "
            "give the block another name or train without compiling"
        )
    values, columns, row_bounds, column_values, own_rows, column_bounds = map(
        torch.from_numpy, _both_orders(numbers, there)
    )

    def longer(value: Tensor) -> Tensor:
        return functional.pad(value, (0, room - len(value)))

    return longer(values), longer(columns), row_bounds, longer(column_values), longer(own_rows), column_bounds


@_entries_in_a_graph.register_fake
def _(rows: Tensor, room: int) -> tuple[Tensor, ...]:
    def whole(size: int) -> Tensor:
        return rows.new_empty(size, dtype=torch.int32)

    n, size = rows.shape[:-1].numel(), rows.shape[-1]
    values = rows.new_empty(room), whole(room)
    return *values, whole(n + 1), *(torch.empty_like(value) for value in values), whole(size + 1)


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
    """Return the inner products between the rows of each task, given as the same pieces on both sides.

    Dense: a task has few rows, and finding the entries that two rows share costs as much.
    """
    return laid_out(left) @ laid_out(right).mT


def laid_out(pieces: Sequence[Piece]) -> Float[Tensor, "*batch flat"]:
    """Return the pieces side by side, dense."""
    dense = [piece.dense() if isinstance(piece, Entries) else piece for piece in pieces]
    return dense[0] if len(dense) == 1 else torch.cat(dense, dim=-1)
