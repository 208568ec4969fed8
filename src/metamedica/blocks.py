"""A block of featurised cases: laid out, or as rows of a table that keeps only the entries that are not zero.

Fingerprints, counts of words or of codes fill 1 to 5 % of their columns. Such a block is parsed for its entries once, and then drawn from, padded,
cut and joined by the numbers of its rows; nobody lays it out who does not need it so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_array, vstack
from torch import Tensor

OWN_BLOCK = "own"
"""Name of the optional block of columns that only one task has: `[tasks, cases, p]`, standardised, 0 where missing."""
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class SparseTable:
    """Rows by their entries that are not zero, row after row; row 0 is empty, so that padding has a row.

    Args:
        values: `[entries]`.
        columns: `[entries]`, ascending within a row.
        bounds: `[rows + 1]`, where the entries of each row begin, and where the last row's end.
        size: columns of the block.
        longest: most entries of a row.
    """

    values: Float[Tensor, " entries"]
    columns: Int[Tensor, " entries"]
    bounds: Int[Tensor, " ends"]
    size: int
    longest: int

    @classmethod
    def of(cls, block: Shaped[Tensor, "rows size"]) -> "SparseTable":
        """Return the table whose row i + 1 is row i of a block; whole numbers become floating point."""
        kind, size = torch.empty(0, dtype=block.dtype), block.shape[1]
        floating = kind.dtype if kind.is_floating_point() else torch.get_default_dtype()
        parts = [csr_array((1, size), dtype=kind.numpy().dtype)]
        parts += [csr_array(rows.numpy()) for rows in torch.split(block, _ROWS_AT_ONCE)]
        rows = vstack(parts, format="csr")
        return cls(
            torch.from_numpy(rows.data).to(floating),
            torch.from_numpy(rows.indices.astype(np.int32, copy=False)),
            torch.from_numpy(rows.indptr.astype(np.int32, copy=False)),
            size,
            int(np.diff(rows.indptr).max()),
        )

    @cached_property
    def rows(self) -> csr_array:
        """The same as SciPy's array."""
        own = (self.values.numpy(), self.columns.numpy(), self.bounds.numpy())
        return csr_array(own, shape=(len(self.bounds) - 1, self.size))


@dataclass(frozen=True)
class SparseRows:
    """A block `[*batch, size]` whose rows are those of a table at `index`.

    Args:
        table: of all cases.
        index: `[*batch]`, int64, row of the table; 0 where padded.
    """

    table: SparseTable
    index: Int[Tensor, "*batch"]

    @property
    def shape(self) -> torch.Size:
        """The shape of the block."""
        return torch.Size((*self.index.shape, self.table.size))

    def laid_out(self) -> Float[Tensor, "*batch size"]:
        """Return the block itself."""
        rows = self.table.rows[self.index.reshape(-1).numpy()].toarray()
        return torch.from_numpy(rows).reshape(self.shape)


if TYPE_CHECKING:
    # To type checkers a block is a tensor: who is given rows of a table has asked for them by name (`Encoder.by_entries`).
    Block: TypeAlias = Tensor
else:
    Block = Tensor | SparseRows


def rows_of_table(block: object) -> SparseRows | None:
    """Return the block as rows of a table where it is that, None for a tensor."""
    return block if isinstance(block, SparseRows) else None


def as_block(rows: SparseRows) -> Block:
    """Return rows of a table as a block."""
    return cast(Block, rows)


def changed(block: Block, change: Callable[[Tensor], Tensor]) -> Block:
    """Return a block with `change` applied to it, or to where its rows stand in a table."""
    rows = rows_of_table(block)
    return change(block) if rows is None else as_block(SparseRows(rows.table, change(rows.index)))


def followed(
    said: Shaped[Tensor, "tasks size"], mask: Bool[Tensor, "tasks cases"], change: Callable[[Tensor], Tensor]
) -> Shaped[Tensor, "left size"]:
    """Return what is said of whole tasks, for the tasks that are left where `change`, such as an index or a padding, is applied to their cases."""
    task = change(torch.arange(len(mask), device=mask.device)[:, None].expand(mask.shape))
    if 0 in task.shape:  # no case tells the task it came from: then all tasks stay, or none is left
        return said[: len(task)]
    return said.to(task.device).index_select(0, task[:, 0])


def laid_out(block: Block) -> Shaped[Tensor, "*batch size"]:
    """Return the block as a tensor."""
    rows = rows_of_table(block)
    return block if rows is None else rows.laid_out()


def joined(left: Block, right: Block) -> Block:
    """Return two blocks `[tasks, cases, size]` one after the other along the cases; rows of one table stay rows of it."""
    one, other = rows_of_table(left), rows_of_table(right)
    if one is not None and other is not None and one.table is other.table:
        return as_block(SparseRows(one.table, torch.cat([one.index, other.index], dim=1)))
    return torch.cat([laid_out(left), laid_out(right)], dim=1)
